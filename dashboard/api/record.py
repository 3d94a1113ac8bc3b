"""The record for programs: the very structures of signals.services.record, and the same as CSV.

Public, compressed, kept by caches for a minute. None of it looks at the session: whoever asks gets the same bytes.
"""

from __future__ import annotations

import functools
from datetime import date
from typing import Any, cast

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path
from django.views.decorators.cache import cache_control
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

from dashboard.api.replies import JsonView, answer, refuse
from dashboard.exports import calls_csv, record_csv
from dashboard.pairs import before_or_404, pair_or_404
from dashboard.record import Choice, NoSuchRecord
from market import clock
from market.candles import load_candles
from signals.models import LedgerEntry
from signals.services.ledger import lines_of
from signals.services.record import CallRecordJson, RecordJson, ledger, load_record, pair_calls

CANDLES = 1000
# Of one export; what is older has an address of its own.
EXPORTED_CALLS = 2000
LEDGER_LINES = 20_000
LONGEST_NUMBER = 18  # digits of a bigint that is one for certain


def for_everybody(view: JsonView) -> JsonView:
    """GET and HEAD for all the world; what is not there is a 404 as JSON."""

    @cache_control(public=True, max_age=60)
    @gzip_page
    @require_safe
    @functools.wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except (Http404, NoSuchRecord) as problem:
            return refuse(404, "not_found", str(problem))

    return cast("JsonView", shown)


@for_everybody
def get_record_json(request: HttpRequest) -> HttpResponse:
    """RecordJson: the record that `horizon`, `side` and `by` ask for."""
    return answer(_record(request))


@for_everybody
def get_record_csv(request: HttpRequest) -> HttpResponse:
    """The rows of the same record."""
    record = _record(request)
    return _file(record_csv(record), f"record-{record.by}-{record.side}-{record.horizon}.csv")


def _record(request: HttpRequest) -> RecordJson:
    choice = Choice.of(request.GET)
    record = load_record(horizon=choice.horizon, side=choice.side, by=choice.by)
    if record is None:
        raise Http404("There is no record yet. It is made when the first calls have been scored.")
    return record


@for_everybody
def get_ledger(request: HttpRequest) -> HttpResponse:
    """{"entries": [LedgerJson]}: the whole hash chain, oldest day first."""
    return answer({"v": 1, **_market(), "entries": ledger()[::-1]})


@for_everybody
def get_ledger_day(request: HttpRequest, day: str) -> HttpResponse:
    """The text whose digest is the ledger's of that day (docs/RECORD.md); `after` goes on behind a call's number.

    A Link header names the address of what did not fit.
    """
    after = request.GET.get("after", "0")
    if not after.isdecimal() or len(after) > LONGEST_NUMBER:
        raise Http404("after is the number of a call.")
    entry = _sealed_day(day)
    first, last = entry.first_call or 0, entry.last_call or 0
    lines = list(lines_of(entry.day, after=max(int(after), first - 1), through=last, limit=LEDGER_LINES))
    response = HttpResponse("".join(lines), content_type="text/plain; charset=utf-8")
    if len(lines) == LEDGER_LINES:
        next_after = lines[-1].partition("|")[0]
        response["Link"] = f'<{escape_uri_path(request.path)}?after={next_after}>; rel="next"'
    return response


def _sealed_day(text: str) -> LedgerEntry:
    try:
        return LedgerEntry.objects.get(day=date.fromisoformat(text))
    except (ValueError, LedgerEntry.DoesNotExist):
        raise Http404("This day is not in the ledger: it is not over, or was before the first call.") from None


@for_everybody
def get_pair_data(request: HttpRequest, algorithm: str, ticker: str) -> HttpResponse:
    """What the chart of a pair shows: its last 1,000 public candles, and where on them it called what."""
    at = clock.now()
    pair = pair_or_404(algorithm, ticker, at)
    candles = load_candles(pair.ticker_id, pair.timeframe, closed_up_to=at - settings.PUBLIC_DELAY, limit=CANDLES)
    calls = pair_calls(algorithm=algorithm, ticker=ticker, at=at, limit=CANDLES)
    return answer(
        {
            "ticker": ticker,
            "timeframe": pair.timeframe,
            "tick_size": pair.tick_size,
            **_market(),
            "candles": candles.rows.tolist(),
            "calls": [
                {"closed_at": call.candle_closed_at, "signal": call.signal}
                for call in calls
                if call.timeframe == pair.timeframe
            ],
        }
    )


@for_everybody
def get_calls_json(request: HttpRequest, algorithm: str, ticker: str) -> HttpResponse:
    """{"calls": [CallRecordJson]} of a pair, newest first; `older` is the address of those that did not fit, or null."""
    calls, older = _calls(request, algorithm, ticker)
    return answer({"v": 1, **_market(), "calls": calls, "older": older and _address_before(request, older)})


@for_everybody
def get_calls_csv(request: HttpRequest, algorithm: str, ticker: str) -> HttpResponse:
    """The same, one line for each call and horizon; a Link header names the address of those that did not fit."""
    calls, older = _calls(request, algorithm, ticker)
    response = _file(calls_csv(calls, is_simulated=settings.IS_SIMULATED), "calls.csv")
    if older:
        response["Link"] = f'<{_address_before(request, older)}>; rel="next"'
    return response


def _calls(request: HttpRequest, algorithm: str, ticker: str) -> tuple[list[CallRecordJson], int | None]:
    """As many calls as an export holds, and before which instant the others are."""
    at, before = clock.now(), before_or_404(request.GET)
    pair_or_404(algorithm, ticker, at)
    calls = pair_calls(algorithm=algorithm, ticker=ticker, at=at, limit=EXPORTED_CALLS + 1, before=before)
    fitting = calls[:EXPORTED_CALLS]
    return fitting, fitting[-1].candle_closed_at if len(calls) > len(fitting) else None


def _address_before(request: HttpRequest, instant: int) -> str:
    return f"{escape_uri_path(request.path)}?before={instant}"


def _market() -> dict[str, Any]:
    return {"exchange": settings.EXCHANGE, "is_simulated": settings.IS_SIMULATED}


def _file(text: str, name: str) -> HttpResponse:
    return HttpResponse(
        text,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
