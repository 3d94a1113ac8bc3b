from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django_celery_beat.models import PeriodicTask

from accounts.models import User
from engine import registry
from engine.evaluate import verdict
from engine.parameters import ParameterError
from market.models import Ticker
from signals.models import Algorithm, AlgorithmPreferences, Configuration
from signals.services.bots import NotConfigured, get_or_create_master_bot, get_or_create_user_bot
from signals.services.configurations import adopt_central_configuration, configuration_for, timeframes_in_use
from signals.services.housekeeping import bootstrap
from signals.tests.conftest import NOON, candles_of


def test_the_master_bot_runs_every_algorithm_on_every_ticker(product: None) -> None:
    master = get_or_create_master_bot(now=NOON).user

    assert not master.is_active
    assert not master.has_usable_password()
    preferences = AlgorithmPreferences.objects.for_user(master)
    assert {one.configuration.algorithm_id for one in preferences} == {one.id for one in registry.all_algorithms()}
    assert all(one.all_tickers for one in preferences)


def test_bootstrap_run_again_overwrites_no_edit_of_the_operator(product: None) -> None:
    PeriodicTask.objects.filter(name="central sweep").update(enabled=False)
    Algorithm.objects.filter(id="rsi").update(is_enabled=False, timeframe="2m")
    AlgorithmPreferences.objects.filter(configuration__algorithm="macd").update(is_enabled=False)

    bootstrap(now=NOON)

    assert not PeriodicTask.objects.get(name="central sweep").enabled
    assert not Algorithm.objects.get(id="rsi").is_enabled
    assert not AlgorithmPreferences.objects.get(configuration__algorithm="macd").is_enabled


@pytest.mark.django_db(transaction=True)
def test_processes_that_start_together_make_one_master_bot() -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            bootstrap(now=NOON)
        except BaseException as error:  # noqa: BLE001 (told to the test below)
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert AlgorithmPreferences.objects.count() == Configuration.objects.count() == len(registry.all_algorithms())


def test_a_new_timeframe_moves_the_central_feed_and_its_followers(product: None, bob: User) -> None:
    master = get_or_create_master_bot(now=NOON).user
    old = AlgorithmPreferences.objects.central().get(configuration__algorithm="rsi").configuration
    AlgorithmPreferences.objects.create(user=bob, configuration=old, all_tickers=True)
    rsi = Algorithm.objects.get(id="rsi")
    rsi.timeframe = "5m"
    rsi.save()

    new = adopt_central_configuration(algorithm=rsi, master=master, now=NOON)

    assert new.timeframe == "5m"
    assert AlgorithmPreferences.objects.for_user(bob).get().configuration == new
    assert AlgorithmPreferences.objects.central().get(configuration__algorithm="rsi").configuration == new
    assert Configuration.objects.filter(pk=old.pk).exists()
    assert timeframes_in_use() == {"2m", "5m"}


def test_equal_parameters_are_one_configuration(product: None) -> None:
    one = configuration_for(algorithm_id="rsi", timeframe="5m", parameters={"period": 7}, now=NOON)
    again = configuration_for(algorithm_id="rsi", timeframe="5m", parameters={"period": 7}, now=NOON)
    other = configuration_for(algorithm_id="rsi", timeframe="5m", parameters={"period": 8}, now=NOON)

    assert one == again != other


def test_parameters_out_of_range_are_refused_and_nothing_is_written(product: None) -> None:
    before = Configuration.objects.count()

    with pytest.raises(ParameterError, match="from 2 to"):
        configuration_for(algorithm_id="rsi", timeframe="5m", parameters={"period": 0}, now=NOON)

    assert Configuration.objects.count() == before


def test_execute_algorithm_gives_entry_and_exit_of_the_function_the_sweep_uses(tickers: list[Ticker]) -> None:
    bot = get_or_create_master_bot(now=NOON)

    for algorithm in registry.all_algorithms():
        expected = verdict(algorithm, algorithm.parameters_from({}), candles_of(tickers[0]))
        assert bot.execute_algorithm(algorithm.id, "BTCUSDT") == (expected.is_entry, expected.is_exit)


def test_a_bot_that_does_not_run_an_algorithm_says_so(tickers: list[Ticker], bob: User) -> None:
    with pytest.raises(NotConfigured, match="Algorithm preferences"):
        get_or_create_user_bot(user=bob).execute_algorithm("rsi", "BTCUSDT")


def test_an_unknown_ticker_is_refused(tickers: list[Ticker]) -> None:
    with pytest.raises(Ticker.DoesNotExist):
        get_or_create_master_bot(now=NOON + timedelta(hours=1)).execute_algorithm("rsi", "NOSUCHUSDT")
