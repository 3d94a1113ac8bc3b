from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone

from accounts.admin import UserAdmin
from accounts.models import User
from billing.models import PlanGrant, PlanName


@admin.register(PlanGrant)
class PlanGrantAdmin(admin.ModelAdmin[PlanGrant]):
    """Plans given by hand. Who gave one is written down by itself; a grant is ended by `ends_at`, not deleted."""

    list_display = ["user", "plan", "starts_at", "ends_at", "is_active", "granted_by", "reason"]
    list_filter = ["plan"]
    list_select_related = ["user", "granted_by"]
    search_fields = ["user__username", "user__email", "reason"]
    autocomplete_fields = ["user"]
    date_hierarchy = "starts_at"
    ordering = ["-starts_at"]
    fields = ["user", "plan", "starts_at", "ends_at", "reason", "granted_by"]

    @admin.display(boolean=True, description="active now")
    def is_active(self, grant: PlanGrant) -> bool:
        now = timezone.now()
        return grant.starts_at <= now and (grant.ends_at is None or grant.ends_at > now)

    def get_readonly_fields(self, request: HttpRequest, obj: PlanGrant | None = None) -> list[str]:
        given = ["user", "plan", "starts_at"] if obj else []
        return [*given, "granted_by"]

    def save_model(self, request: HttpRequest, obj: PlanGrant, form: ModelForm[PlanGrant], change: bool) -> None:
        if not change:
            assert isinstance(request.user, User)
            obj.granted_by = request.user
        super().save_model(request, obj, form, change)

    def has_delete_permission(self, request: HttpRequest, obj: PlanGrant | None = None) -> bool:
        """A grant is the record of why somebody had a plan."""
        return bool(request.user.is_active and request.user.is_superuser)


admin.site.unregister(User)


@admin.register(User)
class UserWithPlanAdmin(UserAdmin):
    """The user list with each one's plan."""

    list_display = [*UserAdmin.list_display, "plan"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        premium = PlanGrant.objects.active(timezone.now()).filter(user=OuterRef("pk"), plan=PlanName.PREMIUM)
        queryset: QuerySet[User] = super().get_queryset(request)
        return queryset.annotate(is_premium=Exists(premium))

    @admin.display(ordering="is_premium")
    def plan(self, user: Any) -> str:
        return PlanName.PREMIUM.label if user.is_premium else PlanName.FREE.label
