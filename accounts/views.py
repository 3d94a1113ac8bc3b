from __future__ import annotations

from typing import Any

from django.contrib.auth import views

from accounts.backends import is_demo_mode
from accounts.forms import LogInForm


class LogIn(views.LoginView):
    """The log-in page. `next` is followed only within this site (Django checks it)."""

    template_name = "accounts/log_in.html"
    authentication_form = LogInForm
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"is_demo_mode": is_demo_mode()}


class LogOut(views.LogoutView):
    """Ends the session. POST only, so that no foreign page can do it with an image."""
