from __future__ import annotations

from typing import Any, cast

from django.contrib import admin
from django.urls import include, path

from signals.consumers import NotificationConsumer

urlpatterns = [
    path("", include("dashboard.urls")),
    path("accounts/", include("accounts.urls")),
    path("admin/", admin.site.urls),
]

# Channels routes ASGI applications with Django's `path`, which the stubs do not know.
websocket_urlpatterns: list[Any] = [
    path("ws/notifications/", cast("Any", NotificationConsumer.as_asgi())),
]
