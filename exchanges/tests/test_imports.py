from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import sys
sys.modules["django"] = None  # importing it now raises ImportError
import exchanges, exchanges.base, exchanges.binance, exchanges.simulator
exchanges.open_market_data("binance")
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )


def test_exchanges_import_without_django() -> None:
    finished = run(BLOCKED)

    assert finished.returncode == 0, finished.stderr


def test_the_shapes_do_not_load_the_vendors_library() -> None:
    finished = run("import sys, exchanges.base; print('binance' in sys.modules)")

    assert finished.stdout.strip() == "False", finished.stderr


@pytest.mark.parametrize(("name", "urls"), [("mtgox", {}), ("simulated", {}), ("binance", {"stream_url": "http://x"})])
def test_an_exchange_that_cannot_be_opened_is_refused(name: str, urls: dict[str, str]) -> None:
    from exchanges import open_market_data

    with pytest.raises(ValueError):
        open_market_data(name, **urls)
