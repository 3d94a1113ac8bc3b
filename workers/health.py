"""`python -m workers.health PART`: the containers' health checks. Code 0 and silence, or 1 and what is wrong.

Quick and light, since each runs every half minute: no Django.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys

import psycopg2

# Seconds. Beat writes down what it has sent every three minutes at the latest; the heartbeat every few seconds.
_BEAT_MAY_BE_SILENT, _HEARTBEAT_MAY_BE_SILENT = 300, 60


class Unhealthy(Exception):
    """The part does not do its work. The message says how that shows."""


def check_page(port: int, path: str) -> None:
    """Raises Unhealthy unless the server on this machine answers `path` without failing."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        status, words = answer.status, answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as problem:
        raise Unhealthy(f"no answer on port {port}: {problem}") from problem
    finally:
        connection.close()
    if status >= 500:
        raise Unhealthy(f"{path} answers {status}: {words}")


def check_age(what: str, sql: str, *, at_most: float) -> None:
    """Raises Unhealthy unless `sql`, the age in seconds of what a part wrote last, is at most `at_most`."""
    try:
        connection = psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=5)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                row = cursor.fetchone()
        finally:
            connection.close()
    except psycopg2.Error as problem:
        raise Unhealthy(f"Postgres cannot be asked: {problem}") from problem
    age = row[0] if row else None
    if age is None or age > at_most:
        raise Unhealthy(f"{what} wrote nothing for {'ever' if age is None else f'{age:.0f} s'}")


def check(part: str) -> None:
    """Raises Unhealthy unless the part works: web, flower, beat or heartbeat."""
    if part == "web":
        # Not /readyz: where the market stands still, no other web server would do better.
        check_page(int(os.environ.get("UVICORN_PORT", "8000")), "/readyz/web")
    elif part == "flower":
        check_page(int(os.environ.get("FLOWER_PORT", "5555")), "/healthcheck")
    elif part == "beat":
        sql = "SELECT extract(epoch FROM now() - max(last_run_at))::float8 FROM django_celery_beat_periodictask"
        check_age("beat", sql, at_most=_BEAT_MAY_BE_SILENT)
    else:
        sql = "SELECT extract(epoch FROM now() - max(updated_at))::float8 FROM market_heartbeatstatus"
        check_age("the heartbeat", sql, at_most=_HEARTBEAT_MAY_BE_SILENT)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m workers.health", description=__doc__)
    parser.add_argument("part", choices=["web", "flower", "beat", "heartbeat"])
    try:
        check(parser.parse_args().part)
    except Unhealthy as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
