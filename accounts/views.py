from __future__ import annotations

from typing import Any

from axes.helpers import get_client_ip_address
from django.conf import settings
from django.contrib.auth import views
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from accounts.backends import is_demo_mode
from accounts.forms import LogInForm
from accounts.services import failed_log_ins


class LogIn(views.LoginView):
    """The log-in page. `next` is followed only within this site (Django checks it)."""

    template_name = "accounts/log_in.html"
    authentication_form = LogInForm
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        address = get_client_ip_address(request)
        if failed_log_ins(address=address, now=timezone.now()) >= settings.FAILED_LOG_INS_PER_ADDRESS:
            return render(request, settings.AXES_LOCKOUT_TEMPLATE, status=429)
        return super().post(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"is_demo_mode": is_demo_mode()}


class LogOut(views.LogoutView):
    """Ends the session. POST only, so that no foreign page can do it with an image."""
