"""The environment, read once: real variables first, then `.run/env` (RUN_FOLDER moves it), which `make run` writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent


class Environment(environ.Env):  # type: ignore[misc]
    """A variable that is given but empty counts as not given: of those in .env.example most are."""

    def get_value(self, var: str, *arguments: Any, default: Any = environ.Env.NOTSET, **options: Any) -> Any:
        if default is not self.NOTSET and self.ENVIRON.get(var) == "":
            return default
        return super().get_value(var, *arguments, default=default, **options)


env = Environment()
# Fills os.environ without overwriting, so that celeryconfig.py sees the same values.
environ.Env.read_env(Path(os.environ.get("RUN_FOLDER") or BASE_DIR / ".run") / "env", overwrite=False)


def required(name: str, *, example: str, build_value: str) -> str:
    """A setting the product cannot run without.

    `build_value` stands in only where nothing is run (BORITRADER_BUILD=1: collecting static files, linting).
    """
    value = env.str(name, default="")
    if value:
        return str(value)
    if env.bool("BORITRADER_BUILD", default=False):
        return build_value
    raise ImproperlyConfigured(
        f"{name} is not set. `make run` sets it for you; elsewhere give it in the environment, "
        f"for example {name}={example} (every variable is explained in .env.example)."
    )
