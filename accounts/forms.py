from __future__ import annotations

from django.contrib.auth.forms import AuthenticationForm


class LogInForm(AuthenticationForm):
    """Name and password. One message for every wrong pair: it does not tell which names exist."""

    error_messages = {
        "invalid_login": "This name and password do not go together. Both are case-sensitive.",
        # Django gives this one only for right passwords; it must not tell more than the other.
        "inactive": "This name and password do not go together. Both are case-sensitive.",
    }
