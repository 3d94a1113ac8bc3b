from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from engine.algorithm import Algorithm, Lines
from engine.candles import Candles
from engine.compare import Bools
from engine.evaluate import Panels, Signal, SignalShapeError, series, verdict, verdicts
from engine.parameters import Parameters
from engine.registry import all_algorithms, get
from engine.tests.market import generated, markets, with_gap

ALGORITHMS = pytest.mark.parametrize("algorithm", all_algorithms(), ids=lambda algorithm: algorithm.id)
MARKETS = pytest.mark.parametrize("market", markets())
BARS = 2_000


Rule = Callable[[Candles, Lines, Parameters], tuple[Bools, Bools]]


def algorithm_of(rule: Rule, lookback: int = 1) -> Algorithm:
    """An algorithm of a test's own: the value is ten times the close."""
    return Algorithm(
        id="own",
        name="Own",
        description="",
        version=1,
        value_label="Ten closes",
        parameters=(),
        lookback=lambda parameters: lookback,
        lines=lambda candles, parameters: (candles.close * 10,),
        rule=rule,
    )


def buy_above(level: float) -> Algorithm:
    """BUY above a level, SELL below 2."""
    return algorithm_of(lambda candles, lines, parameters: (candles.close > level, candles.close < 2))


def candles_of(*closes: float) -> Candles:
    rows = [(i * 60_000.0, close, close, close, close, 1.0) for i, close in enumerate(closes)]
    return Candles.from_rows(np.array(rows).reshape(-1, 6), "1m")


def changed(candles: Candles, row: int, column: int, value: float) -> Candles:
    rows = candles.rows
    rows[row, column] = value
    return Candles.from_rows(rows, candles.timeframe)


def test_an_entry_is_a_buy_an_exit_a_sell_and_an_entry_goes_first() -> None:
    both = buy_above(0.5)

    found = {close: verdict(buy_above(5), {}, candles_of(close)) for close in (9.0, 1.0, 3.0)}
    contradiction = verdict(both, {}, candles_of(1.0))

    assert [found[close].signal for close in (9.0, 1.0, 3.0)] == [Signal.BUY, Signal.SELL, Signal.DO_NOTHING]
    assert [str(signal) for signal in Signal] == ["BUY", "SELL", "DO NOTHING"]
    assert (found[9.0].is_entry, found[9.0].is_exit) == (True, False)
    assert (found[9.0].value, found[9.0].price) == (90.0, 9.0)
    assert found[3.0].reason == ""
    assert (contradiction.signal, contradiction.is_entry, contradiction.is_exit) == (Signal.BUY, True, True)


def test_a_verdict_names_its_candle_and_the_candles_it_rests_on() -> None:
    candles = generated(700)
    rsi = get("rsi")
    parameters = rsi.parameters_from({})

    found = verdict(rsi, parameters, candles, end=650)

    assert found.candle_closed_at_ms == candles.closed_at[649]
    assert found.price == candles.close[649]
    assert found.candles_digest == candles.window(650, rsi.lookback(parameters)).digest()


@ALGORITHMS
@MARKETS
def test_later_candles_change_no_verdict(algorithm: Algorithm, market: str) -> None:
    """Signals and value at candle n are the same to the bit, whether the series goes on or ends there: every n."""
    candles = markets()[market].window(BARS, BARS)
    parameters = algorithm.parameters_from({})
    entries, exits = algorithm.signals(candles, parameters)
    values = algorithm.value(candles, parameters)
    assert len(entries) == len(exits) == len(values) == BARS

    for n in range(1, BARS + 1):
        truncated = candles.window(n, n)
        entries_until, exits_until = algorithm.signals(truncated, parameters)
        value_until = algorithm.value(truncated, parameters)[-1]
        assert (entries_until[-1], exits_until[-1]) == (entries[n - 1], exits[n - 1])
        assert value_until == values[n - 1] or (np.isnan(value_until) and np.isnan(values[n - 1]))


@ALGORITHMS
def test_a_verdict_is_the_same_at_the_end_and_in_the_middle_of_a_series(algorithm: Algorithm) -> None:
    candles = generated(BARS)
    parameters = algorithm.parameters_from({})

    for end in range(0, BARS, 37):
        assert verdict(algorithm, parameters, candles, end) == verdict(algorithm, parameters, candles.window(end, BARS))


@ALGORITHMS
@MARKETS
def test_every_algorithm_buys_and_sells_now_and_then(algorithm: Algorithm, market: str) -> None:
    verdicts = series(algorithm, algorithm.parameters_from({}), markets()[market])

    assert 5 <= np.count_nonzero(verdicts == 1) <= 0.1 * len(verdicts)
    assert 5 <= np.count_nonzero(verdicts == -1) <= 0.1 * len(verdicts)


@ALGORITHMS
@MARKETS
@pytest.mark.parametrize(("price", "volume"), [(2.0**-30, 2.0**-40), (2.0**30, 2.0**40)])
def test_verdicts_do_not_depend_on_the_unit_of_price_and_volume(
    algorithm: Algorithm, market: str, price: float, volume: float
) -> None:
    """Powers of two scale a float64 without rounding, so nothing at all may change, however small the prices."""
    candles = markets()[market]
    scaled = Candles.from_rows(candles.rows * np.array([1, price, price, price, price, volume]), candles.timeframe)
    parameters = algorithm.parameters_from({})

    np.testing.assert_array_equal(series(algorithm, parameters, scaled), series(algorithm, parameters, candles))


BAD_CANDLES: dict[str, tuple[Callable[[], Candles], str]] = {
    "none": (lambda: generated(600).window(0, 0), "no candles"),
    "one": (lambda: generated(600).window(1, 1), "warming up: 1 of "),
    "constant": (lambda: candles_of(*[5.0] * 600), "the price did not move in the last "),
    "all NaN": (lambda: Candles.from_rows(np.full((600, 6), np.nan), "1m"), "candle values are not finite"),
    "NaN close": (lambda: changed(generated(600), -1, 4, np.nan), "candle values are not finite"),
    "NaN time": (lambda: changed(generated(600), -1, 0, np.nan), "candle values are not finite"),
    "infinite high": (lambda: changed(generated(600), -9, 2, np.inf), "candle values are not finite"),
    "NaN volume": (lambda: changed(generated(600), -40, 5, np.nan), "candle values are not finite"),
    "zero price": (
        lambda: changed(generated(600), -40, 3, 0.0),
        "candle values are not finite, or a price is not abov",
    ),
    "gap": (lambda: with_gap(generated(600), 580, 3), "gap in the look-back: 3 candles missing after 2023-11-1"),
    "one missing": (lambda: with_gap(generated(600), 599, 1), "gap in the look-back: 1 candle missing after 2023-"),
    "doubled": (lambda: with_gap(generated(600), 580, -1), "candles are out of step after 2023-11-15T05:39Z"),
}


@ALGORITHMS
@pytest.mark.parametrize("bad", BAD_CANDLES)
def test_candles_that_cannot_be_judged_give_do_nothing_with_the_reason(algorithm: Algorithm, bad: str) -> None:
    make, reason = BAD_CANDLES[bad]
    candles = make()
    parameters = algorithm.parameters_from({})

    found = verdict(algorithm, parameters, candles)

    assert found.signal is Signal.DO_NOTHING
    assert (found.is_entry, found.is_exit, found.value) == (False, False, None)
    assert found.reason.startswith(reason)
    assert len(found.reason) <= 80
    assert found.candles_digest == candles.window(len(candles), algorithm.lookback(parameters)).digest()
    assert not series(algorithm, parameters, candles)[-1:].any()


def test_the_reason_of_a_gap_names_the_last_gap_until_it_has_left_the_window() -> None:
    bollinger = get("bollinger")
    parameters = bollinger.parameters_from({})
    lookback = bollinger.lookback(parameters)
    candles = with_gap(with_gap(generated(600), 300, 9), 350, 80)

    reasons = [verdict(bollinger, parameters, candles, end).reason for end in range(300, 350 + lookback + 1)]

    assert reasons[0] == ""
    assert reasons[1] == "gap in the look-back: 9 candles missing after 2023-11-15T00:59Z"
    assert reasons[51] == "gap in the look-back: 80 candles missing after 2023-11-15T01:58Z"
    assert reasons[50 + lookback - 1] == reasons[51]
    assert reasons[50 + lookback] == ""


def test_an_undefined_value_is_do_nothing_with_the_reason() -> None:
    candles = generated(600)
    rows = candles.rows
    rows[-40:, 5] = 0.0
    rows[-40:, 1:5] = rows[-41, 4]

    found = verdict(get("mfi"), get("mfi").parameters_from({}), Candles.from_rows(rows, "1m"))

    assert found.signal is Signal.DO_NOTHING
    assert found.value is None
    assert found.reason == "MFI is undefined: too little movement or volume"


@ALGORITHMS
@pytest.mark.parametrize("seed", range(30, 36))
def test_a_market_that_stands_still_gives_no_signals(algorithm: Algorithm, seed: int) -> None:
    """Averages then creep towards the price for hundreds of candles: what is left is rounding, and a tie."""
    rows = generated(2_000, seed=seed).rows
    rows[300:, 1:5] = rows[299, 4]
    rows[300:, 5] = 0.0

    entries, exits = algorithm.signals(Candles.from_rows(rows, "1m"), algorithm.parameters_from({}))

    assert not entries[400:].any()
    assert not exits[400:].any()


@pytest.mark.parametrize("name", ["macd", "bollinger", "ema_cross", "supertrend", "donchian", "ichimoku", "vwap"])
def test_prices_that_differ_in_their_last_bits_only_are_a_market_that_stands_still(name: str) -> None:
    algorithm = get(name)
    rows = generated(2_000, seed=40).rows
    rows[300:, 1:5] = rows[299, 4] * (1 + 1e-12 * (rows[300:, 1:5] / rows[299, 4] - 1))

    entries, exits = algorithm.signals(Candles.from_rows(rows, "1m"), algorithm.parameters_from({}))

    assert len(set(rows[1_500:, 4])) > 20
    assert not entries[1_500:].any()
    assert not exits[1_500:].any()


@pytest.mark.parametrize("end", [-1, 11, 1_000])
def test_an_end_outside_of_the_candles_is_an_error(end: int) -> None:
    with pytest.raises(IndexError, match=f"there is no candle before index {end}: the series has 10"):
        verdict(get("rsi"), get("rsi").parameters_from({}), generated(10), end)


def test_what_an_algorithm_raises_goes_through() -> None:
    def fails(candles: Candles, lines: Lines, parameters: Parameters) -> tuple[Bools, Bools]:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        verdict(algorithm_of(fails), {}, candles_of(1.0))


def test_signals_of_another_length_than_the_candles_are_refused() -> None:
    short = algorithm_of(lambda candles, lines, parameters: (candles.close[..., 1:] > 1, candles.close > 1), lookback=2)

    with pytest.raises(SignalShapeError, match="own gave 1 entries, 2 exits and 2 values for 2 candles"):
        verdict(short, {}, candles_of(1.0, 2.0))


def test_lines_of_another_length_than_the_candles_are_refused() -> None:
    short = dataclasses.replace(buy_above(5), lines=lambda candles, parameters: (candles.close, candles.close[1:]))

    with pytest.raises(SignalShapeError, match="own gave a line of 0 values for 1 candles"):
        verdict(short, {}, candles_of(1.0))


def test_lines_of_another_length_than_many_tickers_candles_are_refused() -> None:
    short = dataclasses.replace(
        buy_above(5), lines=lambda candles, _: (candles.close, candles.open[..., 1:]), takes_many=True
    )

    with pytest.raises(SignalShapeError, match="own gave a line of 0 values for 1 candles"):
        verdicts(short, {}, Panels().get([(candles_of(float(close)), 1) for close in range(1, 30)], 1))


@ALGORITHMS
def test_a_rule_needs_no_more_than_it_is_shown(algorithm: Algorithm) -> None:
    """Over the whole window it decides the same: on real-looking candles and on coarse ones, which tie."""
    parameters = algorithm.parameters_from({})
    lookback = algorithm.lookback(parameters)
    for candles in (generated(1_500, seed=3), Candles.from_rows(np.round(generated(1_500, seed=4).rows, 1), "1m")):
        for end in range(lookback, 1_500, 7):
            window = candles.window(end, lookback)
            shown = verdict(algorithm, parameters, candles, end)
            if not shown.reason:
                entries, exits = algorithm.signals(window, parameters)
                assert (shown.is_entry, shown.is_exit) == (entries[-1], exits[-1])


@ALGORITHMS
def test_many_tickers_together_get_the_verdicts_that_each_gets_alone(algorithm: Algorithm) -> None:
    """To the bit, ties and faulty windows among them, whatever their order."""
    parameters = algorithm.parameters_from({})
    sound = [generated(1_000, seed=seed) for seed in range(5, 25)]
    coarse = [Candles.from_rows(np.round(candles.rows, 1), candles.timeframe) for candles in sound]
    faulty = [with_gap(sound[0], 990, 2), changed(sound[1], 995, 4, np.nan), sound[2].window(30, 30)]
    ends = [
        (candles, end) for candles in (*sound, *faulty, *coarse) for end in range(len(candles) - 9, len(candles) + 1)
    ]

    together = verdicts(algorithm, parameters, Panels().get(ends, algorithm.lookback(parameters)))

    assert together == [verdict(algorithm, parameters, candles, end) for candles, end in ends]
    assert {one.reason.split(":")[0] for one in together} >= {"", "gap in the look-back", "warming up"}


def test_windows_are_cut_once_for_all_algorithms_that_look_back_equally_far() -> None:
    panels = Panels()
    tickers = [generated(1_000, seed=seed) for seed in (5, 6, 7)]

    made = {
        id(panels.get([(candles, 1_000) for candles in tickers], algorithm.lookback(algorithm.parameters_from({}))))
        for algorithm in all_algorithms()
    }

    assert len(made) == len({algorithm.lookback(algorithm.parameters_from({})) for algorithm in all_algorithms()})
    assert len(made) < len(all_algorithms()) / 2


def test_one_ticker_that_fails_fails_all_that_are_judged_with_it() -> None:
    def fails(candles: Candles, parameters: Parameters) -> Lines:
        if candles.close[-1] == 2.0:
            raise ZeroDivisionError("mine")
        return (candles.close,)

    algorithm = dataclasses.replace(buy_above(1), lines=fails)

    with pytest.raises(ZeroDivisionError, match="mine"):
        verdicts(algorithm, {}, Panels().get([(candles_of(1.0), 1), (candles_of(2.0), 1)], 1))


@ALGORITHMS
def test_a_series_says_nothing_where_a_verdict_cannot_be_computed(algorithm: Algorithm) -> None:
    parameters = algorithm.parameters_from({})
    lookback = algorithm.lookback(parameters)
    candles = changed(with_gap(generated(3_000), 1_000, 80), 2_000, 4, np.nan)

    verdicts = series(algorithm, parameters, candles)

    silent = [*range(lookback - 1), *range(1_000, 1_000 + lookback - 1), *range(2_000, 2_000 + lookback)]
    assert verdicts.dtype == np.int8
    assert not verdicts[silent].any()
    assert verdicts[2_000 + lookback :].any()
