from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_date

from market.models import Ticker
from signals.models import (
    Algorithm,
    AlgorithmPreferences,
    Call,
    Configuration,
    LatestSignal,
    SignalResult,
    Sweep,
    TickerRun,
)
from signals.services.bots import get_or_create_master_bot
from signals.services.configurations import adopt_central_configuration
from signals.services.schedules import sync_premium_schedule


class ReadOnly(admin.ModelAdmin[Model]):
    """Rows that only the product writes."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Uncounted(Paginator[Any]):
    """Pages without a total: counting a partitioned table reads all of it."""

    @property
    def count(self) -> int:
        return 10_000


class OneTickerOneDay(ReadOnly):
    """A large table: the list shows nothing until a ticker and a day are named (?ticker=BTCUSDT&day=2026-11-21)."""

    instant: str
    paginator = Uncounted
    list_per_page = 200
    search_help_text = "A ticker and a day, such as: BTCUSDT 2026-11-21"
    search_fields = ("ticker__symbol",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        words = search_term.split()
        day = parse_date(words[1]) if len(words) == 2 else None
        if day is None:
            if search_term or not request.GET:
                messages.info(request, f"Search for {self.search_help_text}")
            return queryset.none(), False
        first = datetime(day.year, day.month, day.day, tzinfo=UTC)
        tickers = Ticker.objects.filter(symbol=words[0].upper())
        of_day = {f"{self.instant}__gte": first, f"{self.instant}__lt": first + timedelta(days=1)}
        return queryset.filter(ticker__in=tickers, **of_day), False


@admin.register(SignalResult)
class SignalResultAdmin(OneTickerOneDay):
    instant = "candle_closed_at"
    list_display = ("ticker", "configuration", "candle_closed_at", "signal", "value", "price", "reason")
    list_select_related = ("ticker", "configuration")
    ordering = ("-candle_closed_at",)


@admin.register(TickerRun)
class TickerRunAdmin(OneTickerOneDay):
    instant = "slot"
    list_display = ("ticker", "sweep", "slot", "status", "results", "calls", "holes", "duration_ms", "error")
    list_select_related = ("ticker", "sweep")
    ordering = ("-slot",)


@admin.register(LatestSignal)
class LatestSignalAdmin(ReadOnly):
    list_display = (
        "ticker",
        "configuration",
        "signal",
        "candle_closed_at",
        "value",
        "price",
        "called_signal",
        "called_at",
    )
    list_filter = ("signal",)
    list_select_related = ("ticker", "configuration")
    search_fields = ("ticker__symbol",)


@admin.register(Call)
class CallAdmin(ReadOnly):
    list_display = ("candle_closed_at", "ticker", "configuration", "previous_signal", "signal", "price", "value")
    list_filter = ("signal", "configuration__algorithm")
    list_select_related = ("ticker", "configuration")
    search_fields = ("ticker__symbol",)
    ordering = ("-candle_closed_at",)


@admin.register(Sweep)
class SweepAdmin(ReadOnly):
    list_display = (
        "slot", "feed", "status", "tickers", "ok", "stale", "failed", "missing", "results", "calls", "duration_ms", "note",
    )  # fmt: skip
    list_filter = ("status",)
    search_fields = ("feed",)
    ordering = ("-slot",)
    exclude = ("ticker_ids", "configuration_ids")


@admin.register(Configuration)
class ConfigurationAdmin(ReadOnly):
    list_display = ("algorithm", "version", "timeframe", "parameters", "created_at")
    list_filter = ("algorithm", "timeframe")


@admin.register(Algorithm)
class AlgorithmAdmin(admin.ModelAdmin[Algorithm]):
    list_display = ("name", "id", "timeframe", "is_enabled")
    list_editable = ("timeframe", "is_enabled")
    readonly_fields = ("id", "name", "description")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Algorithm | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Algorithm, form: Any, change: bool) -> None:
        """A new timeframe takes effect with the next sweep."""
        super().save_model(request, obj, form, change)
        now = datetime.now(UTC)
        adopt_central_configuration(algorithm=obj, master=get_or_create_master_bot(now=now).user, now=now)


@admin.register(AlgorithmPreferences)
class AlgorithmPreferencesAdmin(admin.ModelAdmin[AlgorithmPreferences]):
    list_display = ("user", "configuration", "all_tickers", "execution_frequency", "is_enabled")
    list_filter = ("is_enabled", "execution_frequency", "configuration__algorithm")
    list_select_related = ("user", "configuration")
    search_fields = ("user__username",)
    autocomplete_fields = ("user", "tickers")

    def save_model(self, request: HttpRequest, obj: AlgorithmPreferences, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        sync_premium_schedule(preference=obj)

    def delete_model(self, request: HttpRequest, obj: AlgorithmPreferences) -> None:
        obj.execution_frequency = AlgorithmPreferences.Frequency.CENTRAL
        sync_premium_schedule(preference=obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AlgorithmPreferences]) -> None:
        for preference in queryset:
            self.delete_model(request, preference)
