"""What the commands about calls have in common: an error is JSON for whoever asked for JSON, and no day is in the future."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from market import clock
from signals.models import Outcome
from signals.tests.conftest import NOON

TOMORROW = f"{NOON + timedelta(days=1):%Y-%m-%d}"
NOT_BEGUN = f"{TOMORROW} has not begun yet; on the market's clock it is {NOON:%Y-%m-%d} (UTC)"


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["replay", "--day", "2020-01-01"], "there are no verdicts of the central feed on 2020-01-01"),
        (["replay", "--day", "yesterday"], "'yesterday' is no day; give one such as 2026-11-25"),
        (["replay", "--day", TOMORROW], NOT_BEGUN),
        (["score_calls"], "there are no calls yet"),
        (["score_calls", "--day", ""], "'' is no day"),
        (["score_calls", "--day", "yesterday"], "'yesterday' is no day; give one such as 2026-11-25"),
        (["score_calls", "--day", TOMORROW], NOT_BEGUN),
        (["verify_call", "4711"], "there is no call 4711"),
        (["verify_ledger"], "there is no ledger yet"),
        (["verify_ledger", "--kept", "/nowhere"], "/nowhere cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told_with_code_2_and_as_json_where_that_was_asked_for(
    words: list[str], message: str
) -> None:
    for wish in ([], ["--json"]):
        said = StringIO()

        with pytest.raises(CommandError, match=f"^{message.split(';')[0]}") as refusal:
            call_command(*words, *wish, stdout=said)

        assert refusal.value.returncode == 2
        assert said.getvalue() == (json.dumps({"error": str(refusal.value)}) + "\n" if wish else "")
    assert not Outcome.objects.exists()


@pytest.mark.django_db
def test_today_may_be_asked_for() -> None:
    with pytest.raises(CommandError, match="there are no verdicts of the central feed"):
        call_command("replay", "--day", f"{NOON:%Y-%m-%d}")
