from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from market.admin import OneTickerOneDayAdmin, ReadOnlyAdmin
from signals.models import (
    Algorithm,
    AlgorithmPreferences,
    Call,
    CentralSpan,
    Configuration,
    LatestSignal,
    LedgerEntry,
    Outcome,
    Record,
    RecordCell,
    RecordDay,
    SignalResult,
    Sweep,
    TickerRun,
)
from signals.services.bots import get_or_create_master_bot
from signals.services.configurations import adopt_central_configuration
from signals.services.schedules import sync_premium_schedule


@admin.register(SignalResult)
class SignalResultAdmin(OneTickerOneDayAdmin):
    day_column = "candle_closed_at"
    list_display = ("ticker", "configuration", "candle_closed_at", "signal", "value", "price", "reason")
    list_select_related = ["ticker", "configuration"]
    ordering = ("-candle_closed_at",)


@admin.register(TickerRun)
class TickerRunAdmin(OneTickerOneDayAdmin):
    day_column = "slot"
    list_display = ("ticker", "sweep", "slot", "status", "results", "calls", "holes", "duration", "error")
    list_select_related = ["ticker", "sweep"]

    @admin.display(description="duration, ms")
    def duration(self, run: TickerRun) -> str:
        return f"{run.duration_ms:.1f}"

    ordering = ("-slot",)


@admin.register(LatestSignal)
class LatestSignalAdmin(ReadOnlyAdmin):
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
class CallAdmin(ReadOnlyAdmin):
    list_display = ("candle_closed_at", "signal", "ticker", "price", "configuration", "previous_signal", "value")
    readonly_fields = ("candles",)
    list_filter = ("signal", "configuration__algorithm")
    list_select_related = ("ticker", "configuration")
    search_fields = ("ticker__symbol",)
    ordering = ("-candle_closed_at",)

    @admin.display(description="Digest of its candles")
    def candles(self, call: Call) -> str:
        return bytes(call.candles_digest).hex()


@admin.register(Outcome)
class OutcomeAdmin(ReadOnlyAdmin):
    list_display = ("call", "horizon", "status", "reason", "entry_price", "exit_price", "net_return", "scored_at")
    list_filter = ("horizon", "status")
    list_select_related = ("call",)
    raw_id_fields = ("call",)
    ordering = ("-pk",)


@admin.register(CentralSpan)
class CentralSpanAdmin(ReadOnlyAdmin):
    list_display = ("configuration", "since", "until")
    list_select_related = ("configuration",)
    ordering = ("-since",)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = ("day", "calls", "digest", "made_at")
    ordering = ("-day",)


@admin.register(RecordCell)
class RecordCellAdmin(ReadOnlyAdmin):
    list_display = (
        "month",
        "configuration",
        "ticker",
        "signal",
        "horizon",
        "scored",
        "unscorable",
        "pending",
        "net_sum",
    )
    list_filter = ("horizon", "signal")
    list_select_related = ("configuration", "ticker")
    search_fields = ("ticker__symbol",)
    exclude = ("bins", "counts")
    ordering = ("-month", "-pk")


@admin.register(RecordDay)
class RecordDayAdmin(ReadOnlyAdmin):
    list_display = ("day", "configuration", "signal", "horizon", "scored", "net_sum", "hold_sum")
    list_filter = ("horizon", "signal")
    list_select_related = ("configuration",)
    ordering = ("-day", "-pk")


@admin.register(Record)
class RecordAdmin(ReadOnlyAdmin):
    list_display = ("horizon", "side", "grouping", "built_at")
    list_filter = ("horizon", "side", "grouping")
    ordering = ("horizon", "side", "grouping")


@admin.register(Sweep)
class SweepAdmin(ReadOnlyAdmin):
    list_display = (
        "slot", "feed", "status", "note", "tickers", "ok", "stale", "failed", "missing", "results", "calls", "duration_ms",
    )  # fmt: skip
    list_filter = ("status",)
    search_fields = ("feed",)
    ordering = ("-slot",)
    exclude = ("ticker_ids", "configuration_ids")


@admin.register(Configuration)
class ConfigurationAdmin(ReadOnlyAdmin):
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
