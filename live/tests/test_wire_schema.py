from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
from django.core.management import CommandError, call_command

from live.management.commands import export_wire_schema
from live.messages import ClientMessage, ServerFrame
from live.schema import SCHEMA_FILE, encoded_schema, json_schema
from live.tests.web import signal_frame, sweep_closed_frame

FRAMES: list[ServerFrame] = [
    signal_frame(closed_at=120_000),
    {**signal_frame(closed_at=120_000), "signal": "DO NOTHING", "value": None, "price": None},
    sweep_closed_frame(slot=120_000),
    {
        "type": "market",
        "v": 1,
        "exchange": "binance",
        "is_connected": True,
        "is_simulated": True,
        "at": 1,
        "watermarks": {"1m": 60_000},
    },
    {"type": "notification", "v": 1, "id": "a", "level": "info", "title": "t", "body": "b", "created_at": 1},
    {"type": "hello", "v": 1, "at": 1, "user": "alice", "groups": 3, "replayed": 0},
    {"type": "replayed", "v": 1, "since": 1, "count": 0},
    {"type": "reload", "v": 1, "reason": "too far back"},
    {"type": "gap", "v": 1, "dropped": 3},
    {"type": "subscribed", "v": 1, "groups": 3, "refused": [{"algorithm": "a", "ticker": "b", "reason": "c"}]},
    {"type": "error", "v": 1, "detail": "send text"},
    {"type": "pong", "v": 1, "at": 1},
]


def is_valid(message: object, *, name: str) -> bool:
    schema = json_schema() | {"$ref": f"#/$defs/{name}"}
    return jsonschema.Draft202012Validator(schema).is_valid(message)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame["type"])
def test_each_frame_is_valid_and_stops_being_so_without_any_of_its_fields(frame: ServerFrame) -> None:
    assert is_valid(frame, name="ServerFrame")
    for field in frame:
        assert not is_valid({key: value for key, value in frame.items() if key != field}, name="ServerFrame")


def test_the_examples_above_show_every_frame_there_is() -> None:
    assert {f"{frame['type'].title().replace('_', '')}Frame" for frame in FRAMES} == {
        member.__name__ for member in get_args(ServerFrame)
    }


def test_client_messages_are_described_too() -> None:
    assert is_valid({"type": "ping"}, name="ClientMessage")
    assert is_valid({"type": "subscribe", "pairs": [{"algorithm": "a", "ticker": "b"}]}, name="ClientMessage")
    assert not is_valid({"type": "subscribe", "pairs": [{"algorithm": "a"}]}, name="ClientMessage")
    assert not is_valid({"type": "hello"}, name="ClientMessage")
    assert {member.__name__ for member in get_args(ClientMessage)} <= json_schema()["$defs"].keys()


def test_the_committed_file_is_the_current_schema() -> None:
    assert SCHEMA_FILE.read_bytes() == encoded_schema(), "stale: run manage.py export_wire_schema"


def test_the_command_writes_what_its_check_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_wire_schema, "SCHEMA_FILE", tmp_path / "wire.schema.json")

    with pytest.raises(CommandError, match="stale"):
        call_command("export_wire_schema", "--check")
    call_command("export_wire_schema", stdout=StringIO())

    call_command("export_wire_schema", "--check")
    assert (tmp_path / "wire.schema.json").read_bytes() == encoded_schema()
