"""Of which algorithm on which ticker a public address speaks. Whatever it says, the answer is a pair or a 404."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.conf import settings
from django.http import Http404

from dashboard.numbers import moment
from market.models import Ticker
from signals.models import Algorithm
from signals.services.record import PairRecord, pair_record, public_calls


def pair_or_404(algorithm: str, ticker: str, at: datetime) -> PairRecord:
    """The record of a pair. Raises Http404, saying what is not known."""
    # Postgres takes no NUL in a text.
    found = None if "\0" in ticker else pair_record(algorithm=algorithm, ticker=ticker, at=at)
    if found is None:
        raise Http404("The central feed has never run this algorithm on this ticker.")
    return found


def before_or_404(query: Mapping[str, str]) -> datetime | None:
    """The instant (ms since 1970) before which calls are asked for. Raises Http404 where no calendar has it."""
    given = query.get("before")
    if given is None:
        return None
    try:
        return moment(int(given))
    except (ValueError, OverflowError):
        raise Http404("There are no calls before an instant that is none.") from None


def pair_of_newest_call(query: Mapping[str, str], at: datetime) -> tuple[str, str]:
    """Algorithm and ticker that were asked for; what was not is that of the newest call. Raises Http404 without one."""
    algorithm, ticker = query.get("algorithm", "").strip(), query.get("ticker", "").strip().upper()
    if "\0" in algorithm + ticker:
        raise Http404("The central feed has never run this algorithm on this ticker.")
    if algorithm and ticker:
        return algorithm, ticker
    if ticker and not Ticker.objects.filter(exchange=settings.EXCHANGE, symbol=ticker).exists():
        raise Http404(f"There is no ticker {ticker[:60]}.")
    calls = public_calls(at=at)
    if algorithm:
        calls = calls.filter(configuration__algorithm=algorithm)
    if ticker:
        calls = calls.filter(ticker__symbol=ticker)
    newest = calls.order_by("-candle_closed_at", "-pk").values_list("configuration__algorithm", "ticker__symbol")
    found = newest.first()
    if found is None:
        raise Http404("No call of this is public yet. Calls appear 15 minutes after they were published.")
    return found


def known_pairs() -> dict[str, list[Algorithm] | list[str]]:
    """What there is to choose from: algorithms that the central feed has run, and all tickers, delisted ones too."""
    return {
        "algorithms": list(
            Algorithm.objects.filter(configurations__central_spans__isnull=False).distinct().order_by("name")
        ),
        "symbols": list(
            Ticker.objects.filter(exchange=settings.EXCHANGE).order_by("symbol").values_list("symbol", flat=True)
        ),
    }
