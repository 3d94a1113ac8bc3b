"""The machine and the settings: what can be told without any store."""

from __future__ import annotations

import shutil
import sys

from django.conf import settings

from accounts.backends import is_demo_mode
from workers.doctor.check import Check, Doubtful, Failed

LEAST_PYTHON = (3, 11)
LITTLE_DISK, HARDLY_ANY_DISK = 5_000_000_000, 1_000_000_000  # bytes
LOOPBACK = {"127.0.0.1", "localhost", "::1", "[::1]"}


def python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        raise Failed(version)
    return version


def disk() -> str:
    """Of the folder of the installation; where stores run elsewhere, theirs is not seen from here."""
    free = shutil.disk_usage(settings.BASE_DIR).free
    words = f"{free / 1e9:.0f} GB free"
    if free < HARDLY_ANY_DISK:
        raise Failed(words)
    if free < LITTLE_DISK:
        raise Doubtful(words)
    return words


def secrets() -> str:
    if settings.SECRET_KEY == "build-only" or len(settings.SECRET_KEY) < 50:  # noqa: S105
        raise Failed("SECRET_KEY is too short to sign sessions with")
    return "SECRET_KEY is long enough"


def web_address() -> str:
    """Whether hosts, HTTPS, demo people and error pages fit together."""
    is_public = bool(set(settings.ALLOWED_HOSTS) - LOOPBACK)
    if "*" in settings.ALLOWED_HOSTS:
        raise Failed("ALLOWED_HOSTS lets every name pass", "Name the hosts: ALLOWED_HOSTS=signals.example.com")
    if is_public and settings.DEBUG:
        raise Failed("DEBUG shows strangers the inside of errors", "Set DEBUG=0.")
    if is_public and is_demo_mode():
        raise Failed("demo people can log in, and the site has a public name", "Set DEMO=0.")
    if is_public and not settings.IS_HTTPS:
        raise Doubtful("passwords travel without TLS", "End TLS in front of the product and set HTTPS=1.")
    if settings.IS_HTTPS and not settings.CSRF_TRUSTED_ORIGINS:
        raise Failed("no form is accepted", "Set CSRF_TRUSTED_ORIGINS=https://<name> where HTTPS=1.")
    return f"{settings.PUBLIC_URL}{', with demo people' if is_demo_mode() else ''}"


def static_files() -> str:
    """Whether the pages' scripts are where the web server looks for them."""
    bundle = settings.BASE_DIR / "dashboard" / "static" / "bundle"
    if settings.IS_STATIC_COLLECTED:
        if not (settings.STATIC_ROOT / "staticfiles.json").exists():
            raise Failed("not collected", "Run manage.py collectstatic, or build the image anew.")
    elif not any(bundle.glob("*.js")):
        raise Failed("the pages' scripts are not built")
    return "collected" if settings.IS_STATIC_COLLECTED else "built"


def mail() -> str:
    if not settings.OPERATOR_EMAILS:
        raise Doubtful("nobody is told when something is not well", "Set OPERATOR_EMAILS, and EMAIL_URL.")
    if settings.EMAIL_BACKEND.endswith("console.EmailBackend"):
        raise Doubtful("mails are only printed", "Set EMAIL_URL=smtp+tls://name:password@host:587")
    return f"to {', '.join(settings.OPERATOR_EMAILS)} by {settings.EMAIL_HOST}"


def metrics() -> str:
    if settings.METRICS_TOKEN:
        return "for whoever has METRICS_TOKEN"
    if settings.IS_HTTPS:
        raise Doubtful("nobody may read /metrics", "Set METRICS_TOKEN if Prometheus shall.")
    return "for programs of this machine"


CHECKS = (
    Check("Python", python, f"Python {'.'.join(map(str, LEAST_PYTHON))} or newer is needed."),
    Check("disk", disk, "Make room: old logs and images first; then fewer days of candles (CANDLE_RETENTION)."),
    Check("secrets", secrets, "Set SECRET_KEY to 50 or more random characters: openssl rand -base64 48"),
    Check("web address", web_address, ".env.example explains the variables."),
    Check("static files", static_files, "Run make setup."),
    Check("mail to the operator", mail, ".env.example explains the variables."),
    Check("metrics", metrics, ".env.example explains the variables."),
)
