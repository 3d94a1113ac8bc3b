"""A yardstick of `bench relay`: an ordinary Channels consumer on channels_redis' own Pub/Sub layer.

An ASGI application for uvicorn. It is spared what the product's does besides: no log-in, no database, frames that
arrive as ready text. Its groups come in the query string.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings

settings.configure(
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [{"address": os.environ["LIVE_URL"], "socket_timeout": None}]},
        }
    }
)

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402 (Django must be set up first)


class StockConsumer(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        self.groups = parse_qs(self.scope["query_string"].decode())["group"]
        for group in self.groups:
            await self.channel_layer.group_add(group, self.channel_name)
        await self.send(text_data='{"type": "hello"}')

    async def bench_frame(self, message: dict[str, Any]) -> None:
        await self.send(text_data=message["text"])


application = StockConsumer.as_asgi()
