"""docker-compose.yml read as compose reads it, and its services run without an engine: by their very commands."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from workers.wheels import CHECKOUT

TEXT = (CHECKOUT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
REQUIRED = {
    "SECRET_KEY": "s" * 60,
    "POSTGRES_PASSWORD": "pg-pw",
    "BROKER_PASSWORD": "broker-pw",
    "LIVE_PASSWORD": "live-pw",
    "FLOWER_BASIC_AUTH": "operator:flower-pw",
    "DOMAIN": "signals.example.com",
}


class Refused(Exception):
    """Compose would refuse to start: a variable without a default is not given."""


def interpolate(text: str, given: Mapping[str, str]) -> str:
    """What compose makes of `text`: $$, ${NAME}, ${NAME:-default} (which may hold others), ${NAME:?error}."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        found = given.get(match["name"], "")
        if not found and match["sign"] == ":?":
            raise Refused(match["rest"])
        return found or (interpolate(match["rest"], given) if match["sign"] == ":-" else "")

    rest = r"(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*"  # a default in a default, which holds a third
    return re.sub(rf"\$\$|\$\{{(?P<name>\w+)(?:(?P<sign>:[-?])(?P<rest>{rest}))?\}}", value, text)


def services(given: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Every service, with the variables filled in."""
    filled: dict[str, dict[str, Any]] = yaml.safe_load(interpolate(TEXT, given))["services"]
    return filled


def argv(service: dict[str, Any], given: Mapping[str, str]) -> list[str]:
    command = service["command"]
    words = shlex.split(command) if isinstance(command, str) else command
    return [interpolate(word, given) for word in words]


def environment(service: dict[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    return {name: interpolate(str(value), given) for name, value in service.get("environment", {}).items()}


class Service:
    """One service's command, running; and its health check."""

    def __init__(self, name: str, env: dict[str, str], log: Path, folder: Path) -> None:
        self.name, self.env, self.log = name, env, log
        self.complaint = ""  # of the last health check
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                argv(SERVICES[name], REQUIRED),
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def is_healthy(self) -> bool:
        kind, *words = SERVICES[self.name]["healthcheck"]["test"]
        words = [interpolate(word, REQUIRED) for word in words]
        command = ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words
        done = subprocess.run(command, cwd=CHECKOUT, env=self.env, capture_output=True, text=True, timeout=60)
        self.complaint = done.stdout + done.stderr
        return done.returncode == 0

    def wait_until(self, is_true: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + 90
        while not is_true():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < ends_at, self.log.read_text()
            time.sleep(0.2)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)
