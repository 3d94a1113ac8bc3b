"""How patient the heartbeat is, in seconds of our own clock (time-outs never use the exchange's)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """`tick`: how often the heartbeat looks whether something is due. `clock_every`: between looks at the exchange's clock.
    `rest`: a minute that closed so recently is not asked for by REST: its last trades may not be counted yet.
    `grace`: a minute that did not come by stream is asked for so long after its close.
    `confirm`: a minute that REST does not have either is believed to be missing so long after its close.
    `gather`: closed candles of so long go to Postgres together.
    `refresh_every`: between looks at which tickers are followed and which timeframes are in use.
    `status_every`: between writings of HeartbeatStatus. `connect_within`: a new stream replaces the old one, at the
    latest, after this. `flush_within`: at the end, what is not written by then is left to the next start.
    """

    tick: float = 0.25
    clock_every: float = 5.0
    rest: float = 1.0
    grace: float = 1.5
    confirm: float = 5.0
    gather: float = 0.1
    refresh_every: float = 30.0
    status_every: float = 5.0
    connect_within: float = 60.0
    flush_within: float = 5.0
