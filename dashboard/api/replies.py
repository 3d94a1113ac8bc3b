"""How our JSON answers and refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from django.http import HttpResponse

JsonView = Callable[..., HttpResponse]


def answer(reply: Any, *, status: int = 200) -> HttpResponse:
    """`reply` as JSON."""
    return HttpResponse(msgspec.json.encode(reply), content_type="application/json", status=status)


def refuse(status: int, code: str, detail: str) -> HttpResponse:
    """An error as JSON: `code` for programs, `detail` says to a person what is wrong and what to do."""
    return answer({"error": {"code": code, "detail": detail}}, status=status)
