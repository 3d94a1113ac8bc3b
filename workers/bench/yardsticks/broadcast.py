"""A yardstick of `bench relay`: what `websockets` itself can send to everybody, with nothing around it.

`python -m workers.bench.yardsticks.broadcast PORT`; it hears on Redis what to send, as the product does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Final

import uvloop
from redis.asyncio import Redis
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

CHANNEL: Final = "bench-broadcast"


async def _main(port: int) -> None:
    everybody: set[ServerConnection] = set()

    async def welcome(connection: ServerConnection) -> None:
        everybody.add(connection)
        with contextlib.suppress(ConnectionClosed):
            await connection.send('{"type": "hello"}')
        await connection.wait_closed()
        everybody.discard(connection)

    pubsub: Any = Redis.from_url(os.environ["LIVE_URL"], socket_timeout=None).pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(CHANNEL)
    async with serve(welcome, "127.0.0.1", port, compression=None):
        async for message in pubsub.listen():
            broadcast(everybody, message["data"].decode())


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
