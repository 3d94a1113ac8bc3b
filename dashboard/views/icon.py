from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe


@cache_control(public=True, max_age=86_400)
@require_safe
def show_icon(request: HttpRequest) -> HttpResponse:
    """Leads to the site's icon: where a page names none, as the administration's, browsers ask for this address."""
    return redirect(static("dashboard/favicon.svg"))
