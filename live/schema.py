"""The wire messages as JSON Schema, for the browser client's tests and for whoever writes a client of his own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from live.messages import WIRE_VERSION, ClientMessage, ServerFrame

SCHEMA_FILE: Final = Path(__file__).with_name("wire.schema.json")


def json_schema() -> dict[str, Any]:
    """One document: every message under its name in `$defs`, and the unions `ServerFrame` and `ClientMessage`."""
    unions = {"ServerFrame": get_args(ServerFrame), "ClientMessage": get_args(ClientMessage)}
    # msgspec knows no union of TypedDicts, so the two are put together here.
    _, definitions = msgspec.json.schema_components(
        [message for members in unions.values() for message in members], ref_template="#/$defs/{name}"
    )
    for name, members in unions.items():
        definitions[name] = {"oneOf": [{"$ref": f"#/$defs/{member.__name__}"} for member in members]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Boritrader's WebSocket messages, version {WIRE_VERSION}",
        "$ref": "#/$defs/ServerFrame",
        "$defs": definitions,
    }


def encoded_schema() -> bytes:
    """The document as it is written to `live/wire.schema.json`."""
    return msgspec.json.format(msgspec.json.encode(json_schema(), order="sorted"), indent=2) + b"\n"
