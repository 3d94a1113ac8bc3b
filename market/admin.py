from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from market.models import Candle, CandleRevision, HeartbeatStatus, Ticker, Universe


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """Rows that only the product writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Universe)
class UniverseAdmin(admin.ModelAdmin[Universe]):
    list_display = ["exchange", "quote_assets", "minimum_volume", "maximum_tickers"]


@admin.register(Ticker)
class TickerAdmin(ReadOnlyAdmin):
    """Discovery writes them; the rules of the universe decide what is followed."""

    list_display = ["symbol", "exchange", "status", "is_followed", "quote_volume_24h", "discovered_at", "delisted_at"]
    list_filter = ["is_followed", "status", "exchange", "quote_asset"]
    search_fields = ["symbol"]
    ordering = ["-quote_volume_24h"]


class OneDayPaginator(Paginator[Any]):
    """Counts what a day of a ticker can hold at most, never a whole table."""

    MOST = 5_000

    @cached_property
    def count(self) -> int:
        return cast("QuerySet[Any]", self.object_list)[: self.MOST].count()


class OneTickerOneDayAdmin(ReadOnlyAdmin):
    """A table in partitions: the rows of one ticker and one day of `day_column`, none until both are named."""

    search_help_text = "A ticker and a day (UTC), such as: BTCUSDT 2026-11-21"
    search_fields = ["ticker__symbol"]  # shows the box; `get_search_results` is what searches
    list_display_links = None
    list_select_related = ["ticker"]
    show_full_result_count = False
    paginator = OneDayPaginator
    day_column: str

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        symbol, _, day = search_term.strip().partition(" ")
        try:
            first = datetime.strptime(day.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            messages.info(request, f"Search for {self.search_help_text}. The table is too large to list all of it.")
            return queryset.none(), False
        within = {f"{self.day_column}__gte": first, f"{self.day_column}__lt": first + timedelta(days=1)}
        return queryset.filter(ticker__in=Ticker.objects.filter(symbol=symbol.upper()), **within), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Model | None:
        return None  # the id has no index: only the natural key finds a row


@admin.register(Candle)
class CandleAdmin(OneTickerOneDayAdmin):
    day_column = "open_time"
    list_filter = ["timeframe"]
    list_display = ["ticker", "timeframe", "open_time", "open", "high", "low", "close", "volume", "received_at"]
    ordering = ["-open_time"]


@admin.register(CandleRevision)
class CandleRevisionAdmin(OneTickerOneDayAdmin):
    day_column = "open_time"
    list_filter = ["timeframe"]
    list_display = ["ticker", "timeframe", "open_time", "seen_at", "open", "high", "low", "close", "volume"]
    ordering = ["-open_time", "-seen_at"]


@admin.register(HeartbeatStatus)
class HeartbeatStatusAdmin(ReadOnlyAdmin):
    list_display = ["exchange", "is_connected", "tickers", "last_message_at", "reconnects", "started_at", "stopped_at"]
