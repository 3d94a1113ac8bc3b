"""Configurations: an algorithm's version with exact parameters on a timeframe, found again by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from accounts.models import User
from engine import registry
from engine.parameters import ParameterError
from signals.models import Algorithm, AlgorithmPreferences, Configuration


def configuration_for(
    *, algorithm_id: str, timeframe: str, parameters: Mapping[str, Any], now: datetime
) -> Configuration:
    """The configuration of these values, made if there is none. Raises ParameterError for values out of range."""
    algorithm = registry.get(algorithm_id)
    checked = algorithm.parameters_from(parameters)
    identity = json.dumps([algorithm.id, algorithm.version, timeframe, checked], sort_keys=True)
    configuration, _ = Configuration.objects.get_or_create(
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        defaults={
            "algorithm_id": algorithm.id,
            "version": algorithm.version,
            "timeframe": timeframe,
            "parameters": checked,
            "created_at": now,
        },
    )
    return configuration


def adopt_central_configuration(*, algorithm: Algorithm, master: User, now: datetime) -> Configuration:
    """Makes the central feed run this algorithm's present version on its present timeframe; returns what it runs.

    An operator's parameters are kept where they are still allowed. Whoever followed the configuration that is replaced
    follows the new one. The old one stays: its calls refer to it.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # One process at a time, per algorithm: bootstrap may run on several machines at once.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"central {algorithm.id}"])
        running = (
            AlgorithmPreferences.objects.for_user(master)
            .filter(configuration__algorithm=algorithm)
            .select_related("configuration")
            .order_by("pk")
            .last()
        )
        parameters = running.configuration.parameters if running else {}
        wanted = _present_configuration(algorithm, parameters, now)
        if running is None:
            AlgorithmPreferences.objects.create(user=master, configuration=wanted, all_tickers=True)
        elif running.configuration != wanted:
            following = AlgorithmPreferences.objects.filter(configuration=running.configuration, execution_frequency="")
            following.exclude(user__algorithm_preferences__configuration=wanted).update(configuration=wanted)
        return wanted


def _present_configuration(algorithm: Algorithm, parameters: Mapping[str, Any], now: datetime) -> Configuration:
    try:
        return configuration_for(
            algorithm_id=algorithm.id, timeframe=algorithm.timeframe, parameters=parameters, now=now
        )
    except ParameterError:  # a new version may know other parameters
        return configuration_for(algorithm_id=algorithm.id, timeframe=algorithm.timeframe, parameters={}, now=now)


def timeframes_in_use() -> set[str]:
    """The timeframes the heartbeat must keep: those of every enabled preference."""
    return set(
        AlgorithmPreferences.objects.enabled()
        .filter(user__is_active=True)
        .values_list("configuration__timeframe", flat=True)
    ) | set(AlgorithmPreferences.objects.central().values_list("configuration__timeframe", flat=True))
