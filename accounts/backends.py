"""Who may log in with a password."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser

from accounts.models import User


def is_demo_mode() -> bool:
    """Whether demo people may log in: asked for in the environment, and the server listens to this machine alone."""
    return bool(settings.IS_DEMO) and _is_loopback(settings.WEB_HOST)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class PasswordBackend(ModelBackend):
    """Django's own, except that demo people (their passwords were printed) are refused outside demo mode.

    Asked again at every request, so a demo session ends when demo mode does.
    """

    def user_can_authenticate(self, user: User | AnonymousUser | None) -> bool:
        if isinstance(user, User) and user.is_demo and not is_demo_mode():
            return False
        return super().user_can_authenticate(user)
