from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
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

    assert client.post(FOLLOWING, {}).status_code == 302
    assert followed(bob) == {}


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
