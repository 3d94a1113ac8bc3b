"""The second yardstick of `bench sweep`: one DataFrame per ticker, indicators and signal columns, as common bots do it.

FROZEN, like the first. An imitation of the style, with the same twelve algorithms: every column over all candles, two
signal columns each, although only the last candle is asked. A program of its own, because the engine's TA-Lib does not
know pandas: give it an .npy file of (tickers, candles, 6) values; it prints the seconds it took per ticker.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import talib.abstract as ta

COLUMNS = ["date", "open", "high", "low", "close", "volume"]


def frame(rows: npt.NDArray[np.float64]) -> Any:
    """A DataFrame of (n, 6) candles."""
    candles = pd.DataFrame(rows, columns=COLUMNS)
    candles["date"] = pd.to_datetime(candles["date"], unit="ms")
    return candles


def judge(candles: Any) -> list[tuple[int, int]]:
    """Entry and exit (1 or 0) of twelve algorithms on the last of the candles."""
    df = candles.copy()
    _indicators(df)
    return [_signals(df, name, entry, exit_) for name, (entry, exit_) in _rules(df).items()]


def _indicators(df: Any) -> None:
    df["fast"], df["slow"] = ta.EMA(df, timeperiod=12), ta.EMA(df, timeperiod=26)
    df["rsi"] = ta.RSI(df)
    macd = ta.MACD(df)
    df["macd"], df["macdsignal"] = macd["macd"], macd["macdsignal"]
    bands = ta.BBANDS(df, timeperiod=20, nbdevup=2.0, nbdevdn=2.0)
    df["upper"], df["lower"] = bands["upperband"], bands["lowerband"]
    stochastic = ta.STOCH(df, fastk_period=14)
    df["k"], df["d"] = stochastic["slowk"], stochastic["slowd"]
    df["adx"], df["plus"], df["minus"] = ta.ADX(df), ta.PLUS_DI(df), ta.MINUS_DI(df)
    df["cci"], df["mfi"] = ta.CCI(df, timeperiod=20), ta.MFI(df)
    df["highest"] = df["high"].rolling(20).max().shift(1)
    df["lowest"] = df["low"].rolling(10).min().shift(1)
    df["conversion"] = (df["high"].rolling(9).max() + df["low"].rolling(9).min()) / 2
    df["base"] = (df["high"].rolling(26).max() + df["low"].rolling(26).min()) / 2
    typical = (df["high"] + df["low"] + df["close"]) / 3
    df["vwap"] = (typical * df["volume"]).rolling(20).sum() / df["volume"].rolling(20).sum()
    width = 3 * ta.ATR(df, timeperiod=10)
    df["trend"] = _trend(df, width)


def _trend(df: Any, width: Any) -> list[int]:
    middle = (df["high"] + df["low"]) / 2
    lowers, uppers, closes = (middle - width).tolist(), (middle + width).tolist(), df["close"].tolist()
    trends, trend = [], 1
    lower, upper, before = lowers[10], uppers[10], closes[10]
    for next_lower, next_upper, close in zip(lowers, uppers, closes, strict=True):
        lower = next_lower if next_lower > lower or before < lower else lower
        upper = next_upper if next_upper < upper or before > upper else upper
        trend = -1 if close < lower else 1 if close > upper else trend
        trends.append(trend)
        before = close
    return trends


def _rules(df: Any) -> dict[str, tuple[Any, Any]]:
    def crossed(one: Any, other: Any) -> tuple[Any, Any]:
        before, after = one.shift(1), other.shift(1) if hasattr(other, "shift") else other
        return (one > other) & (before <= after), (one < other) & (before >= after)

    return {
        "ema": crossed(df["fast"], df["slow"]),
        "rsi": (crossed(df["rsi"], 30)[0], crossed(df["rsi"], 70)[1]),
        "macd": crossed(df["macd"], df["macdsignal"]),
        "bollinger": (crossed(df["close"], df["lower"])[0], crossed(df["close"], df["upper"])[1]),
        "stochastic": crossed(df["k"], df["d"]),
        "adx": crossed(df["plus"], df["minus"]),
        "cci": (crossed(df["cci"], -100)[0], crossed(df["cci"], 100)[1]),
        "mfi": (crossed(df["mfi"], 20)[0], crossed(df["mfi"], 80)[1]),
        "donchian": (df["close"] > df["highest"], df["close"] < df["lowest"]),
        "ichimoku": crossed(df["conversion"], df["base"]),
        "vwap": crossed(df["close"], df["vwap"]),
        "supertrend": crossed(df["trend"], 0),
    }


def _signals(df: Any, name: str, entry: Any, exit_: Any) -> tuple[int, int]:
    df.loc[entry & (df["volume"] > 0), f"enter_{name}"] = 1
    df.loc[exit_ & (df["volume"] > 0), f"exit_{name}"] = 1
    last = df.iloc[-1]
    return int(last[f"enter_{name}"] == 1) if f"enter_{name}" in df else 0, int(last[f"exit_{name}"] == 1)


def main() -> None:
    frames = [frame(rows) for rows in np.load(sys.argv[1])]
    judge(frames[0])
    started = time.perf_counter()
    for candles in frames:
        judge(candles)
    sys.stdout.write(f"{(time.perf_counter() - started) / len(frames)}\n")


if __name__ == "__main__":
    main()
