"""The public record. Everybody sees the same: nothing of it depends on who asks, but for the menu."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

from billing.entitlements import entitlements
from dashboard.api.record import LEDGER_LINES
from dashboard.pairs import before_or_404, known_pairs, pair_of_newest_call, pair_or_404
from dashboard.plots import histogram, lines, month_bars
from dashboard.record import (
    Choice,
    NoSuchRecord,
    beginning,
    call_lines,
    difference,
    draw_rate,
    horizon_lines,
    month_ends,
    parity_strip,
    record_lines,
)
from engine.stats import FEW
from market import clock
from signals.models import Horizon
from signals.services.record import Grouping, RecordJson, RowJson, ledger, load_record, pair_calls, parity_nights

CALLS = 200
LEDGER_DAYS = 30
# Tables that a process keeps as HTML: one of 2,000 tickers takes more than half a second to make, and anybody may ask.
TABLES_KEPT = 8


@never_cache
@gzip_page
@require_safe
def show_record(request: HttpRequest) -> HttpResponse:
    """What became of every call of the central feed, the nights of parity, and the ledger."""
    try:
        choice = Choice.of(request.GET)
    except NoSuchRecord as problem:
        raise Http404(str(problem)) from None
    record = load_record(horizon=choice.horizon, side=choice.side, by=choice.by)
    nights, days = parity_nights(), ledger(limit=LEDGER_DAYS)
    context = {
        "choice": choice,
        "record": record,
        "nights": nights,
        "strip": parity_strip(nights),
        "ledger": days,
        "ledger_address": request.build_absolute_uri(reverse("dashboard:get-ledger")),
        "day_address": days and request.build_absolute_uri(reverse("dashboard:get-ledger-day", args=[days[0].day])),
        "is_in_parts": bool(days) and days[0].calls > LEDGER_LINES,
        **(_drawn(record) if record and record.total.scored else _begun(choice)),
        **known_pairs(),
        **_menu(request),
    }
    return render(request, "dashboard/record.html", context)


def _drawn(record: RecordJson) -> dict[str, Any]:
    """What of a record is drawn."""
    return {
        "table": _table(msgspec.json.encode((record.by, record.is_simulated, record.rows))),
        "order": _order(record.by),
        "difference": difference(record.total),
        "rate": draw_rate(record.total),
        "cumulative": lines(record.cumulative),
        "month_ends": month_ends(record.cumulative),
        "distribution": histogram(record.distribution),
        "by_month": month_bars(record.months),
    }


def _begun(choice: Choice) -> dict[str, Any]:
    """What is said of a record that has nothing scored yet."""
    return {"beginning": beginning(choice, clock.now()), "shortest": Horizon(min(Horizon.values))}


def _order(by: Grouping) -> str:
    return "name" if by is Grouping.MONTH else "mean"


@lru_cache(maxsize=TABLES_KEPT)
def _table(encoded: bytes) -> SafeString:
    """The table of a record's rows, by all that it is made of."""
    by, is_simulated, rows = msgspec.json.decode(encoded, type=tuple[Grouping, bool, list[RowJson]])
    context = {
        "caption": f"The record by {by}",
        "first": by.capitalize(),
        "is_simulated": is_simulated,
        "sorted": _order(by),
        "lines": record_lines(by, rows),
    }
    return render_to_string("dashboard/record_table.html", context)


@never_cache
@require_safe
def find_pair_record(request: HttpRequest) -> HttpResponse:
    """Leads to the algorithm and the ticker that were asked for; what was not is that of the newest call."""
    pair = pair_of_newest_call(request.GET, clock.now())
    try:
        return redirect("dashboard:show-pair-record", *pair)
    except NoReverseMatch:
        raise Http404("The central feed has never run this algorithm on this ticker.") from None


@never_cache
@gzip_page
@require_safe
def show_pair_record(request: HttpRequest, algorithm: str, ticker: str) -> HttpResponse:
    """One algorithm on one ticker: its summaries, its candles and every call with all that made it."""
    at = clock.now()
    before = before_or_404(request.GET)
    pair = pair_or_404(algorithm, ticker, at)
    calls = pair_calls(algorithm=algorithm, ticker=ticker, at=at, limit=CALLS + 1, before=before)
    context = {
        "pair": pair,
        "lines": horizon_lines(pair.summaries),
        "calls": call_lines(calls[:CALLS]),
        "is_newest": before is None,
        "few": FEW,
        "older": calls[CALLS - 1].candle_closed_at if len(calls) > CALLS else None,
        "fee_rate": settings.FEE_RATE,
        **known_pairs(),
        **_menu(request),
    }
    return render(request, "dashboard/pair_record.html", context)


def _menu(request: HttpRequest) -> dict[str, Any]:
    """What the menu says of whoever is logged in."""
    if not request.user.is_authenticated:
        return {}
    return {"plan": entitlements(request.user, now=timezone.now())}
