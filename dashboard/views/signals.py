from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import User
from billing.entitlements import Entitlements, entitlements
from dashboard.forms import FollowingForm
from live.groups import user_group
from live.messages import WIRE_VERSION, ReloadFrame
from live.publish import publish
from signals.services.following import follow_default, followed_by


@never_cache
@login_required
@require_safe
def show_signals(request: HttpRequest) -> HttpResponse:
    """The live matrix, the newest calls and the chart. The page's modules fetch their data themselves."""
    addresses = {
        "socket": "/ws/notifications/",
        "matrix": reverse("dashboard:get-matrix"),
        "candles": reverse("dashboard:get-candles", args=["__ticker__", "__timeframe__"]),
        "calls": reverse("dashboard:list-calls"),
        "record": reverse("dashboard:show-pair-record", args=["__algorithm__", "__ticker__"]),
        "logIn": reverse("accounts:log-in"),
    }
    return render(request, "dashboard/signals.html", {"plan": _plan(request), "page": addresses})


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def edit_following(request: HttpRequest) -> HttpResponse:
    """Choose algorithms and tickers of the central feed, within the plan."""
    user, plan = cast("User", request.user), _plan(request)
    form = FollowingForm(request.POST if request.method == "POST" else None, user=user, allowed=plan)
    if request.method == "POST" and form.is_valid() and form.save():
        is_following = bool(form.cleaned_data["configurations"])
        saved = "These are the signals you follow now." if is_following else "You follow nothing now."
        messages.success(request, f"Saved. {saved}")
        _renew_pages(user)
        return redirect("dashboard:show-signals")
    following = followed_by(user=user, allowed=plan)
    context = {
        "form": form,
        "plan": plan,
        "hidden_configurations": form.hidden_configurations(following),
        "hidden_tickers": following.hidden_tickers,
        "configurations": form.fields["configurations"].queryset,  # type: ignore[attr-defined]
        "tickers": form.fields["tickers"].queryset,  # type: ignore[attr-defined]
        **_choice(form, {str(one.pk) for one in following.configurations}, {one.symbol for one in following.tickers}),
    }
    return render(request, "dashboard/following.html", context, status=422 if form.errors else 200)


def _choice(form: FollowingForm, configurations: set[str], tickers: set[str]) -> dict[str, object]:
    """What is ticked: what the user has just sent, else what is saved."""
    if form.is_bound:
        return {
            "chosen_configurations": set(form.data.getlist("configurations")),  # type: ignore[attr-defined]
            "chosen_tickers": set(form.data.getlist("tickers")),  # type: ignore[attr-defined]
            "is_all_tickers": bool(form.data.get("all_tickers")),
        }
    preferences = form.user.algorithm_preferences.filter(is_enabled=True, all_tickers=True)
    return {
        "chosen_configurations": configurations,
        "chosen_tickers": tickers,
        "is_all_tickers": preferences.exists(),
    }


@never_cache
@login_required
@require_POST
def choose_default(request: HttpRequest) -> HttpResponse:
    """Follows as much of the central feed as the plan allows."""
    user = cast("User", request.user)
    follow_default(user=user, allowed=_plan(request))
    _renew_pages(user)
    return redirect("dashboard:show-signals")


def _renew_pages(user: User) -> None:
    """Lets the user's open pages show what is followed now: they fetch their data anew and join the new groups."""
    frame = ReloadFrame(type="reload", v=WIRE_VERSION, reason="what you follow has changed")
    transaction.on_commit(lambda: publish([(user_group(user.pk), frame)]))


def _plan(request: HttpRequest) -> Entitlements:
    return entitlements(cast("User", request.user), now=timezone.now())
