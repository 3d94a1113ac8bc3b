"""Gives each run of the tests its own stores, before Django's settings are read. `.run/` is never touched.

pyproject.toml must not name DJANGO_SETTINGS_MODULE: pytest-django would read the settings before this file is known.
Runs of the Django-free packages alone start nothing and set up no Django.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from workers.throwaway import throwaway_stores

_ROOT = Path(__file__).resolve().parent
_WITHOUT_DJANGO = [_ROOT / "engine", _ROOT / "exchanges"]


def pytest_configure(config: pytest.Config) -> None:
    if config.option.help or config.option.version or _needs_no_django(config):
        return
    running = contextlib.ExitStack()
    config.add_cleanup(running.close)  # also after Ctrl-C and after an error in here
    os.environ.update(running.enter_context(throwaway_stores()))
    os.environ["DJANGO_SETTINGS_MODULE"] = "boritrader.settings"
    import django

    django.setup()


def _needs_no_django(config: pytest.Config) -> bool:
    wanted = [(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args]
    return all(any(path.is_relative_to(folder) for folder in _WITHOUT_DJANGO) for path in wanted)
