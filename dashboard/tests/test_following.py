from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from django.conf import settings
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks
from redis import Redis
from redis.client import PubSub

from accounts.models import User
from billing.models import PlanGrant
from live.frames import decode_batch
from live.groups import user_group
from live.publish import CHANNEL
from market.models import Ticker
from signals.models import AlgorithmPreferences, Configuration

FOLLOWING = "/following/"


def followed(user: User) -> dict[int, list[str]]:
    """Configuration -> symbols, of what follows the central feed."""
    preferences = AlgorithmPreferences.objects.for_user(user).filter(execution_frequency="", is_enabled=True)
    return {
        preference.configuration_id: sorted(preference.tickers.values_list("symbol", flat=True))
        for preference in preferences
    }


def choose(configurations: list[Configuration], tickers: list[Ticker], **more: str) -> dict[str, object]:
    return {
        "configurations": [configuration.pk for configuration in configurations],
        "tickers": [ticker.symbol for ticker in tickers],
        **more,
    }


def test_what_is_followed_is_ticked(
    client: Client, bob: User, central: list[Configuration], tickers: list[Ticker]
) -> None:
    client.force_login(bob)

    page = client.get(FOLLOWING).content.decode()

    assert f'name="configurations" value="{central[0].pk}" checked' in page
    assert f'name="configurations" value="{central[2].pk}">' in page
    assert 'value="T02USDT" checked' in page
    assert 'value="T03USDT">' in page


def test_a_free_user_follows_as_much_as_the_plan_allows(
    client: Client, bob: User, central: list[Configuration], tickers: list[Ticker]
) -> None:
    client.force_login(bob)

    response = client.post(FOLLOWING, choose(central[3:6], tickers[5:25]))

    assert response.status_code == 302
    symbols = [ticker.symbol for ticker in tickers[5:25]]
    assert followed(bob) == {configuration.pk: symbols for configuration in central[3:6]}


@pytest.mark.parametrize(
    ("algorithms", "count", "more", "words"),
    [
        (4, 3, {}, "follows up to 3 algorithms; you chose 4"),
        (2, 21, {}, "follows up to 20 tickers; you chose 21"),
        (2, 0, {"all_tickers": "on"}, "not all"),
        (2, 0, {}, "Choose at least one ticker"),
    ],
)
def test_a_choice_beyond_the_plan_is_explained_kept_on_the_page_and_not_saved(
    client: Client,
    bob: User,
    central: list[Configuration],
    tickers: list[Ticker],
    algorithms: int,
    count: int,
    more: dict[str, str],
    words: str,
) -> None:
    before = followed(bob)
    client.force_login(bob)

    response = client.post(FOLLOWING, choose(central[:algorithms], tickers[:count], **more))

    page = response.content.decode()
    assert response.status_code == 422
    assert words in page
    assert f'name="configurations" value="{central[algorithms - 1].pk}" checked' in page
    assert followed(bob) == before


def test_nobody_follows_what_the_central_feed_does_not_run(
    client: Client, bob: User, own: Configuration, tickers: list[Ticker]
) -> None:
    before = followed(bob)
    client.force_login(bob)

    response = client.post(FOLLOWING, choose([own], tickers[:1]))

    assert response.status_code == 422
    assert followed(bob) == before


def test_following_nothing_is_a_choice_too(client: Client, bob: User) -> None:
    client.force_login(bob)

    page = client.post(FOLLOWING, {}, follow=True).content.decode()

    assert "Saved. You follow nothing now." in page
    assert "you follow now" not in page
    assert followed(bob) == {}


def test_a_choice_beyond_a_smaller_plan_is_told_before_saving_replaces_it(
    client: Client, alice: User, own: Configuration, central: list[Configuration]
) -> None:
    client.force_login(alice)
    assert "Saving replaces that choice" not in client.get(FOLLOWING).content.decode()

    PlanGrant.objects.filter(user=alice).delete()
    page = client.get(FOLLOWING).content.decode()

    assert "Saving replaces that choice" in page
    assert "10 tickers" in page  # 30 are followed, 20 are shown
    told = page.split("Hidden at the moment:")[1].split("</p>")[0]
    for hidden in central[3:]:
        assert f"{hidden.algorithm.name}&nbsp;({hidden.timeframe})" in told
    assert f"{central[0].algorithm.name}&nbsp;" not in told
    assert "(5m)" not in told  # her own schedule is not replaced by saving


@pytest.fixture
def heard() -> Iterator[PubSub]:
    """What every relay hears."""
    with Redis.from_url(settings.LIVE_URL, socket_timeout=10) as store, store.pubsub() as ear:
        ear.subscribe(CHANNEL)
        assert ear.get_message(timeout=10)  # it is subscribed now
        yield ear


@pytest.mark.parametrize("address", [FOLLOWING, "/following/default/"])
def test_the_users_open_pages_are_told_once_the_choice_is_saved(
    client: Client,
    bob: User,
    central: list[Configuration],
    heard: PubSub,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    address: str,
) -> None:
    client.force_login(bob)

    with django_capture_on_commit_callbacks() as committed:
        assert client.post(address, {}).status_code == 302
    assert heard.get_message(timeout=0.2) is None  # not before the commit
    for callback in committed:
        callback()

    message = heard.get_message(timeout=10)
    assert message is not None
    reason = "what you follow has changed"
    [(group, frame)] = decode_batch(message["data"]).frames
    assert group == user_group(bob.pk)
    assert msgspec.json.decode(frame) == {"type": "reload", "v": 1, "reason": reason}


def test_a_refused_choice_reloads_nothing(
    client: Client,
    bob: User,
    central: list[Configuration],
    tickers: list[Ticker],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    client.force_login(bob)

    with django_capture_on_commit_callbacks() as committed:
        assert client.post(FOLLOWING, choose(central[:4], tickers[:1])).status_code == 422

    assert committed == []


def test_a_premium_user_follows_all_tickers_and_keeps_her_own_schedule(
    client: Client, alice: User, own: Configuration, central: list[Configuration]
) -> None:
    client.force_login(alice)

    client.post(FOLLOWING, choose(central[:1], [], all_tickers="on"))

    preference = AlgorithmPreferences.objects.for_user(alice).get(execution_frequency="")
    assert (preference.configuration, preference.all_tickers) == (central[0], True)
    assert AlgorithmPreferences.objects.for_user(alice).filter(configuration=own).exists()


def test_the_default_is_what_the_plan_allows_of_the_most_traded(
    client: Client, charlie: User, central: list[Configuration], tickers: list[Ticker]
) -> None:
    client.force_login(charlie)

    response = client.post("/following/default/")

    assert response["Location"] == "/"
    most_traded = sorted(ticker.symbol for ticker in tickers[10:])
    assert followed(charlie) == {configuration.pk: most_traded for configuration in central[:3]}


def test_the_default_takes_a_post_with_a_token_from_somebody_who_is_logged_in(client: Client, charlie: User) -> None:
    assert client.post("/following/default/").status_code == 302  # to the log-in page
    client.force_login(charlie)
    assert client.get("/following/default/").status_code == 405

    strict = Client(enforce_csrf_checks=True)
    strict.force_login(charlie)
    assert strict.post("/following/default/").status_code == 403

    assert followed(charlie) == {}
