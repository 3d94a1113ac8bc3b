from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.http import HttpRequest

from accounts.models import Notification, User


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User]):
    """billing.admin adds the plan: accounts know nothing of plans."""

    list_display = ["username", "email", "is_active", "is_staff", "is_demo", "last_login", "date_joined"]
    list_filter = ["is_active", "is_staff", "is_superuser", "is_demo"]
    ordering = ["username"]
    readonly_fields = ["is_demo", "last_login", "date_joined"]
    fieldsets = [*(DjangoUserAdmin.fieldsets or []), ("Demo", {"fields": ["is_demo"]})]


@admin.register(Notification)
class NotificationAdmin(admin.ModelAdmin[Notification]):
    """What people were told. Written by the product alone."""

    list_display = ["created_at", "user", "level", "title", "read_at"]
    list_filter = ["level"]
    list_select_related = ["user"]
    search_fields = ["user__username", "title"]
    date_hierarchy = "created_at"
    ordering = ["-created_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Notification | None = None) -> bool:
        return False
