from __future__ import annotations

from django.contrib import admin

from market.admin import ReadOnlyAdmin
from watch.models import Incident


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    """When what was not well. Written by the product alone."""

    list_display = ["started_at", "ended_at", "part", "process", "reason", "told_at", "end_told_at"]
    list_filter = ["part"]
    date_hierarchy = "started_at"
    ordering = ["-started_at"]
