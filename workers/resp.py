"""One question to a Valkey or Redis server, by the standard library: for programs that must run without Django."""

from __future__ import annotations

import socket
import ssl
from typing import BinaryIO
from urllib.parse import unquote, urlsplit


class StoreUnreachable(Exception):
    """Nobody answers, or not in this protocol. Try again later."""


class StoreRefused(Exception):
    """The server answered with an error: a wrong password, an unknown command. Mend the call or the settings."""


def ask(url: str, *words: str, timeout: float = 1.0) -> str | int | None:
    """The server's answer to one command that answers with a string, a number or nothing (no arrays).

    `url` is `redis://[user]:password@host:port/db`, or rediss:// for TLS; `timeout` is in seconds, for each step.
    Raises StoreUnreachable or StoreRefused.
    """
    parts = urlsplit(url)
    login = [unquote(word) for word in (parts.username, parts.password) if word]
    database = parts.path.strip("/")
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), timeout) as plain:
            wire = plain
            if parts.scheme == "rediss":
                wire = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
            with wire, wire.makefile("rb") as answers:
                if login:
                    _call(wire, answers, "AUTH", *login)
                if database not in ("", "0"):
                    _call(wire, answers, "SELECT", database)
                return _call(wire, answers, *words)
    except (OSError, EOFError, ValueError) as problem:
        raise StoreUnreachable(f"{parts.hostname}:{parts.port}: {problem}") from problem


def _call(wire: socket.socket, answers: BinaryIO, *words: str) -> str | int | None:
    encoded = [word.encode() for word in words]
    wire.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
    line = answers.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError("the server closed the connection")
    kind, text = line[:1], line[1:-2].decode()
    if kind == b"-":
        raise StoreRefused(text)
    if kind == b":":
        return int(text)
    if kind == b"+":
        return text
    if kind == b"$":
        return None if text == "-1" else answers.read(int(text) + 2)[:-2].decode()
    raise ValueError(f"an answer of kind {kind!r}")
