"""Thousands of WebSocket clients in one process of its own, each as cheap as can be: what is measured is the server.

`python -m workers.bench.crowd SPEC`, told what to do by its parent, whose end is `Crowd`.
Arrivals are stamped with CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import uvloop

from workers.bench import dialogue
from workers.bench.dialogue import Dialogue, Failed

Float64s = npt.NDArray[np.float64]

# Handshakes under way at once: more would only wait in the server.
_AT_ONCE = 50
_HANDSHAKE_TIMEOUT = 60.0

_TEXT, _CLOSE, _PING = 0x1, 0x8, 0x9


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one client goes: the path with its query, and headers beyond those of every WebSocket."""

    path: str
    headers: dict[str, str]


class _Frame(msgspec.Struct):
    """What both kinds of measured frames say of themselves: a signal its number in `value`, a market frame in `at`."""

    type: str
    value: float = -1.0
    at: int = -1
    slot: int = 0


_frames = msgspec.json.Decoder(_Frame)


class Client(asyncio.Protocol):
    """One connection: keeps every text frame with the instant it came, answers pings, and does nothing else."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._rest = b""
        self._is_open = False
        self.opened = asyncio.get_running_loop().create_future()
        self.heard: list[tuple[float, bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self._rest:
            data = self._rest + data
        position = 0 if self._is_open else self._handshake(data)
        while (end := _end_of_frame(data, position)) is not None:
            self._frame(now, data, position, end)
            position = end
        self._rest = data[position:]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(f"refused: {self._rest[:200]!r}"))
        self._hall.lost += 1

    def _handshake(self, data: bytes) -> int:
        """Where the first frame starts; past the end while the answer is not whole."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return len(data) + 1
        if not data.startswith(b"HTTP/1.1 101"):
            self._transport.abort()
            return len(data) + 1
        self._is_open = True
        return end + 4

    def _frame(self, now: float, data: bytes, start: int, end: int) -> None:
        opcode = data[start] & 0x0F
        if opcode == _TEXT:
            self.heard.append((now, data[start + _header(data, start) : end]))
            self._hall.heard += 1
            self._hall.heard_at = now
            if not self.opened.done():  # its first frame says that it has joined its groups
                self.opened.set_result(None)
        elif opcode == _PING:
            payload = data[start + _header(data, start) : end]
            # Masked with zeros, which changes nothing of the payload. It must come back: servers look.
            self._transport.write(bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
        elif opcode == _CLOSE:
            self._hall.closes.append(data[start + _header(data, start) : end].hex())


def _header(data: bytes, start: int) -> int:
    """How long the header of the (unmasked) frame is."""
    length = data[start + 1]
    return 2 if length < 126 else 4 if length == 126 else 10


def _end_of_frame(data: bytes, start: int) -> int | None:
    """Where the frame that starts there ends; None when it is not all here."""
    if len(data) < start + 2:
        return None
    length = data[start + 1]
    header = _header(data, start)
    if length >= 126:
        if len(data) < start + header:
            return None
        length = int.from_bytes(data[start + 2 : start + header], "big")
    end = start + header + length
    return end if end <= len(data) else None


class Hall:
    """All clients of this process."""

    def __init__(self, host: str, port: int, seats: Sequence[Seat]) -> None:
        self._address = host, port
        self._seats = seats
        self._clients: list[Client] = []
        self.heard = 0
        self.heard_at = time.monotonic()
        self.lost = 0
        self.closes: list[str] = []

    async def fill(self) -> float:
        """Opens every client's connection and waits for its first frame; gives how many seconds that took."""
        turns = asyncio.Semaphore(_AT_ONCE)
        started = time.monotonic()
        self._clients = await asyncio.gather(*(self._open(seat, turns) for seat in self._seats))
        self.heard = 0
        for client in self._clients:
            client.heard.clear()
        return time.monotonic() - started

    async def hear(self, frames: int, seconds: float, quiet: float, path: str) -> dict[str, Any]:
        """Waits until so many text frames came, `seconds` are over, or `quiet` seconds passed without any.

        Then a little longer, for frames that come twice. Writes (client, number, arrival) rows to `path`.
        """
        ends_at = time.monotonic() + seconds
        self.heard_at = time.monotonic()
        while self.heard < frames and time.monotonic() < min(ends_at, self.heard_at + quiet):  # noqa: ASYNC110 (cheap)
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        rows = []
        for number, client in enumerate(self._clients):
            heard, client.heard = client.heard, []
            for at, text in heard:
                frame = _frames.decode(text)
                if frame.type in ("signal", "market"):
                    rows.append((number, frame.value if frame.type == "signal" else frame.at, at))
        found = {"lost": self.lost, "closes": self.closes[:5]}
        self.heard = 0
        np.save(path, np.array(rows, dtype=np.float64).reshape(-1, 3))
        return found

    async def _open(self, seat: Seat, turns: asyncio.Semaphore) -> Client:
        async with turns:
            loop = asyncio.get_running_loop()
            transport, client = await loop.create_connection(lambda: Client(self), *self._address)
            host, port = self._address
            headers = {
                "Host": f"{host}:{port}",
                "Origin": f"http://{host}:{port}",
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
                "Sec-WebSocket-Version": "13",
                **seat.headers,
            }
            lines = [f"GET {seat.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
            transport.write("\r\n".join(lines).encode())
            async with asyncio.timeout(_HANDSHAKE_TIMEOUT):
                await client.opened
            return client


async def _serve(spec: dict[str, Any]) -> None:
    hall = Hall(spec["host"], spec["port"], [Seat(**seat) for seat in spec["seats"]])
    questions = dialogue.questions()
    while (question := await asyncio.to_thread(next, questions, None)) is not None:
        verb, arguments = question
        try:
            dialogue.answer(await getattr(hall, verb)(**arguments))
        except (OSError, TimeoutError) as error:
            dialogue.fail(error)


class Crowd(Dialogue):
    """The clients' process, seen from the bench."""

    def __init__(self, folder: Path, name: str, port: int, seats: Sequence[Seat]) -> None:
        self._arrivals = folder / f"{name}.npy"
        spec = folder / f"{name}.json"
        spec.write_text(json.dumps({"host": "127.0.0.1", "port": port, "seats": [asdict(seat) for seat in seats]}))
        super().__init__("workers.bench.crowd", str(spec), values={})

    def fill(self) -> float:
        """Opens all connections; gives how many seconds that took. Raises Failed."""
        return float(self.ask("fill"))

    def heard(self, frames: int, *, seconds: float, quiet: float) -> Float64s:
        """(n, 3) rows of client, the frame's number, arrival (seconds of CLOCK_MONOTONIC), by client in its order.

        All since the last time, once `frames` text frames came, or `seconds` are over, or `quiet` seconds passed
        without any. Raises Failed where a connection was lost.
        """
        told = self.ask("hear", frames=frames, seconds=seconds, quiet=quiet, path=str(self._arrivals))
        if told["lost"]:
            raise Failed(f"{told['lost']} connections were lost; closes: {told['closes']}")
        rows: Float64s = np.load(self._arrivals)
        return rows


if __name__ == "__main__":
    uvloop.run(_serve(json.loads(Path(sys.argv[1]).read_text())))
