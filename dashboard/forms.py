from __future__ import annotations

from typing import Any

from django import forms

from accounts.models import User
from billing.entitlements import Entitlements
from market.models import Ticker
from signals.models import AlgorithmPreferences, Configuration
from signals.services.following import BeyondPlan, Following, follow


class FollowingForm(forms.Form):
    """The choice of algorithms and tickers. The service says what the plan allows; its refusals become our errors."""

    configurations: forms.ModelMultipleChoiceField[Configuration] = forms.ModelMultipleChoiceField(
        Configuration.objects.none(), required=False
    )
    tickers: forms.ModelMultipleChoiceField[Ticker] = forms.ModelMultipleChoiceField(
        Ticker.objects.none(), required=False, to_field_name="symbol"
    )
    all_tickers = forms.BooleanField(required=False)

    def __init__(self, *args: Any, user: User, allowed: Entitlements, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        self.allowed = allowed
        central = AlgorithmPreferences.objects.central().values("configuration")
        configurations = Configuration.objects.filter(pk__in=central).select_related("algorithm")
        self.fields["configurations"].queryset = configurations.order_by("algorithm__name")  # type: ignore[attr-defined]
        self.fields["tickers"].queryset = Ticker.objects.active().order_by("symbol")  # type: ignore[attr-defined]

    def hidden_configurations(self, following: Following) -> list[Configuration]:
        """What is chosen but not shown on the plan, and so replaced by saving. Own schedules stay whatever is saved."""
        preferences = AlgorithmPreferences.objects.for_user(self.user).enabled().filter(execution_frequency="")
        hidden = preferences.exclude(configuration__in=following.configurations)
        ordered = hidden.select_related("configuration__algorithm").order_by("configuration__algorithm__name")
        return [preference.configuration for preference in ordered]

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        if chosen.get("configurations") and not chosen.get("tickers") and not chosen.get("all_tickers"):
            raise forms.ValidationError("Choose at least one ticker for these algorithms.")
        return chosen

    def save(self) -> bool:
        """Saves a valid form; False where the plan does not allow it, with the reason among the errors."""
        chosen = self.cleaned_data
        try:
            follow(
                user=self.user,
                configurations=list(chosen["configurations"]),
                tickers=[] if chosen["all_tickers"] else list(chosen["tickers"]),
                all_tickers=chosen["all_tickers"],
                allowed=self.allowed,
            )
        except BeyondPlan as refusal:
            self.add_error(None, str(refusal))
            return False
        return True
