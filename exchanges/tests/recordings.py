"""Real recorded replies and streams. They are not part of the repository: tests use them where they lie beside it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BINANCE = DATA / "rest_ws" / "binance"
CANDLES = DATA / "candles" / "binance_spot"


def replies(endpoint: str) -> Iterator[Any]:
    """The recorded answers of an endpoint, such as `klines`."""
    for file in (BINANCE / "gocryptotrader").glob(f"api_v3_{endpoint}_GET.json*"):
        with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as text:
            for recording in json.load(text)["recordings"]:
                # Refusals were recorded too.
                if "code" not in recording["data"]:
                    yield recording["data"]


def frames(stream: str) -> Iterator[Any]:
    """The recorded frames of combined streams whose name contains `stream`."""
    for name in ("BINANCE", "BINANCE_US"):
        file = BINANCE / "cryptofeed" / f"{name}.ws.1.0.jsonl.gz"
        if not file.exists():
            return
        with gzip.open(file, "rt") as lines:
            for line in lines:
                entry = json.loads(line)
                if entry["dir"] == "in" and stream in json.loads(entry["raw"]).get("stream", ""):
                    yield json.loads(entry["raw"])
