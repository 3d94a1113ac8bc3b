"""Django settings. Values that differ between machines come from the environment: .env.example names them all."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
from csp.constants import NONE, SELF

from boritrader.env import BASE_DIR, env, required
from workers.connections import time_outs

django_stubs_ext.monkeypatch()

# --- This installation -------------------------------------------------------------------------------------------

VERSION: str = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["version"]
SECRET_KEY = required("SECRET_KEY", example="<50 random characters>", build_value="build-only")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# True where TLS ends in front of us: cookies become Secure, plain HTTP is redirected, HSTS is sent.
IS_HTTPS = env.bool("HTTPS", default=False)
# Demo people exist only where this is set, the database has their row, and the server binds to loopback.
IS_DEMO = env.bool("DEMO", default=False)
WEB_HOST = env.str("WEB_HOST", default="127.0.0.1")

# --- The market ----------------------------------------------------------------------------------------------------

EXCHANGE = env.str("EXCHANGE", default="simulated")  # or "binance"
SIMULATOR_URL = env.str("SIMULATOR_URL", default="http://127.0.0.1:28480")
IS_SIMULATED = EXCHANGE == "simulated"
# How long candles stay, per timeframe (DESIGN: one retention per timeframe).
CANDLE_RETENTION = {
    "1m": timedelta(days=90),
    "2m": timedelta(days=90),
    "3m": timedelta(days=90),
    "5m": timedelta(days=365),
    "15m": timedelta(days=365),
    "1h": timedelta(days=365 * 5),
    "4h": timedelta(days=365 * 5),
}
CANDLE_REVISION_RETENTION = timedelta(days=365)

# --- Signals ---------------------------------------------------------------------------------------------------------

MASTER_BOT_USERNAME = "master_bot"
SWEEP_TICKERS_PER_TASK = env.int("SWEEP_TICKERS_PER_TASK", default=1)
# The period of the central feed, in minutes; the beat row is made from it once and is the operator's from then on.
SWEEP_EVERY_MINUTES = env.int("SWEEP_EVERY_MINUTES", default=2)
WATERMARK_WAIT = timedelta(seconds=3)
SWEEP_RESEND_AFTER = timedelta(seconds=30)
SWEEP_MISSING_AFTER = timedelta(seconds=90)
SIGNAL_RETENTION = timedelta(days=30)
SWEEP_RETENTION = timedelta(days=90)
NOTIFICATION_RETENTION = timedelta(days=90)
# What an exchange takes of each side of a trade, as a fraction: outcomes are after it. Each outcome keeps its own.
FEE_RATE = env.float("FEE_RATE", default=0.001)
# Strangers see the central feed this much later.
PUBLIC_DELAY = timedelta(minutes=15)

# --- Applications -----------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_celery_beat",
    "django_celery_results",
    "axes",
    "csp",
    "live",
    "accounts",
    "billing",
    "market",
    "signals",
    "watch",
    "dashboard",
    "workers",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "boritrader.urls"
ASGI_APPLICATION = "boritrader.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "dashboard.context_processors.installation",
            ],
        },
    },
]

# --- Stores -------------------------------------------------------------------------------------------------------------

DATABASES: dict[str, dict[str, Any]] = {
    "default": env.db_url_config(
        required(
            "DATABASE_URL",
            example="postgres://boritrader:secret@127.0.0.1:5432/boritrader",
            build_value="postgres://build:build@127.0.0.1:1/build",
        )
    )
}
_URL_OPTIONS: dict[str, Any] = DATABASES["default"].get("OPTIONS", {})  # such as ?sslmode=require
PROCESS_NAME = env.str("PROCESS_NAME", default="boritrader")
# Of each web process: so many connections it takes at most for pages. See workers.connections and doctor.
WEB_REQUESTS_AT_ONCE = env.int("WEB_REQUESTS_AT_ONCE", default=30)
DATABASES["default"] |= {
    # 0 in the web tier: under ASGI kept connections pile up until Postgres refuses new ones. Workers keep theirs.
    "CONN_MAX_AGE": env.int("CONN_MAX_AGE", default=0),
    "CONN_HEALTH_CHECKS": True,
    "ATOMIC_REQUESTS": False,
    "OPTIONS": {
        "connect_timeout": 10,
        # A half-open connection (a pulled cable, a frozen machine) is noticed in seconds instead of hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "application_name": PROCESS_NAME,
        **_URL_OPTIONS,
        # Ours and what the URL adds, such as a search_path. Behind PgBouncer this is ignored, and the role's own count:
        # docs/OPERATIONS.md.
        "options": f"{time_outs(PROCESS_NAME).options()} {_URL_OPTIONS.get('options', '')}".rstrip(),
    },
    # PgBouncer gives the next statement another connection, on which no cursor is open.
    "DISABLE_SERVER_SIDE_CURSORS": env.bool("BEHIND_PGBOUNCER", default=False),
    "TEST": {"NAME": None},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Candles, watermarks, hints to browsers, the cache. The broker is another server: see celeryconfig.py.
LIVE_URL = required("LIVE_URL", example="redis://:secret@127.0.0.1:6380/0", build_value="redis://127.0.0.1:1/0")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": LIVE_URL,
        "KEY_PREFIX": "cache",
        "TIMEOUT": 300,
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "live.layer.LiveChannelLayer",
        # redis-py 8 would otherwise close a socket that is idle for 5 s, and with it every quiet WebSocket.
        "CONFIG": {"hosts": [{"address": LIVE_URL, "socket_timeout": None}]},
    }
}

# --- People ---------------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "accounts.backends.PasswordBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "accounts:log-in"
LOGIN_REDIRECT_URL = "dashboard:show-signals"
LOGOUT_REDIRECT_URL = "accounts:log-in"
SESSION_COOKIE_AGE = 14 * 24 * 3600

# Ten wrong passwords for one name from one address close that pair for a quarter of an hour; fifty for whatever names
# close the address.
AXES_FAILURE_LIMIT = 10
FAILED_LOG_INS_PER_ADDRESS = 50
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_TEMPLATE = "accounts/locked_out.html"
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ADMIN = True

# --- The open internet ------------------------------------------------------------------------------------------------------

SECURE_SSL_REDIRECT = IS_HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if IS_HTTPS else None
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if IS_HTTPS else 0
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        # The chart library sets style attributes on the elements it makes; nothing of ours is inline.
        "style-src": [SELF, "'unsafe-inline'"],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# --- Words, time, files --------------------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en-gb"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# WhiteNoise serves straight from the applications' folders, so that `make run` needs no collectstatic. An image collects:
# its files are named by their contents, kept by browsers for ever, and there compressed.
IS_STATIC_COLLECTED = env.bool("COLLECTED_STATIC", default=False)
WHITENOISE_USE_FINDERS = not IS_STATIC_COLLECTED
WHITENOISE_AUTOREFRESH = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if IS_STATIC_COLLECTED
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# --- Beat and task results --------------------------------------------------------------------------------------------------------

DJANGO_CELERY_BEAT_TZ_AWARE = True
DJANGO_CELERY_RESULTS_TASK_ID_MAX_LENGTH = 191

# --- Logs -----------------------------------------------------------------------------------------------------------------------------

# For people, or "json": one object a line, for whoever collects logs.
LOG_FORMAT = env.str("LOG_FORMAT", default="text")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "boritrader.logs.LineFormatter", "is_json": LOG_FORMAT == "json", "process": PROCESS_NAME}
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        # The web server already logs each request.
        "django.request": {"level": "ERROR"},
        "axes": {"level": "WARNING"},
        # The web server's own loggers: through our handler, in our format.
        "uvicorn": {"handlers": [], "propagate": True},
        "uvicorn.error": {"handlers": [], "propagate": True},
        "uvicorn.access": {"handlers": [], "propagate": True},
        # Thousands of tasks a minute: Flower shows them, and each sweep says in one line how it ended.
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
    },
}

# --- Seen from outside ------------------------------------------------------------------------------------------------------------------

# Who may read /metrics: Authorization: Bearer <token>. Without it only this machine may.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
# Where people and the operator's mails find the pages.
_OWN_ADDRESS = f"{f'[{WEB_HOST}]' if ':' in WEB_HOST else WEB_HOST}:{env.int('WEB_PORT', default=8000)}"
PUBLIC_URL = CSRF_TRUSTED_ORIGINS[0] if CSRF_TRUSTED_ORIGINS else f"http://{_OWN_ADDRESS}"

# Whom to tell when something is not well, and by which mail server. Without one, mails are printed.
OPERATOR_EMAILS = env.list("OPERATOR_EMAILS", default=[])
vars().update(env.email_url("EMAIL_URL", default="consolemail://"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("EMAIL_FROM", default=f"boritrader@{urlsplit(PUBLIC_URL).hostname}")

SENTRY_DSN = env.str("SENTRY_DSN", default="")
if SENTRY_DSN:
    from boritrader.errors import report_errors

    report_errors(dsn=SENTRY_DSN, environment=env.str("SENTRY_ENVIRONMENT", default="production"), release=VERSION)
