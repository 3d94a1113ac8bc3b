"""The web process: pages, WebSockets, and beside them the relay and the watch for as long as it serves."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "boritrader.settings")
http = get_asgi_application()

from channels.db import database_sync_to_async  # noqa: E402 (Django must be set up first)
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.conf import settings  # noqa: E402

from boritrader.turnstile import Turnstile  # noqa: E402
from boritrader.urls import websocket_urlpatterns  # noqa: E402
from live.admission import Admission  # noqa: E402
from live.auth import SessionAuth  # noqa: E402
from live.frames import Delivery  # noqa: E402
from live.layer import LiveChannelLayer  # noqa: E402
from live.lifespan import Lifespan, urgent_threads  # noqa: E402
from live.relay import Relay, Wanted  # noqa: E402
from signals.services import delivery  # noqa: E402
from watch.addresses import Addresses  # noqa: E402
from watch.alarm import Alarm  # noqa: E402

addresses = Addresses(Turnstile(http, places=settings.WEB_REQUESTS_AT_ONCE))


async def run_relay() -> None:
    """Delivers to the sockets of this process whatever is published, and what Postgres knows beyond that."""
    layer = get_channel_layer()
    assert isinstance(layer, LiveChannelLayer)
    ask = database_sync_to_async(delivery.catch_up, thread_sensitive=False, executor=urgent_threads())

    async def catch_up(told: delivery.Told | None, wanted: Wanted) -> tuple[list[Delivery], delivery.Told]:
        return await ask(told, wanted=wanted, now=datetime.now(UTC))

    await Relay(layer=layer, url=settings.LIVE_URL, catch_up=catch_up).run()


async def run_beside() -> None:
    """What runs beside the requests; the end of either is the end of the process."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_relay())
        tasks.create_task(Alarm(addresses.readiness).run())


application = ProtocolTypeRouter(
    {
        # What programs ask comes before all else: it must be answered when the rest cannot be.
        "http": addresses,
        # Foreign origins, and clients that name none, are refused before anything else is done.
        "websocket": AllowedHostsOriginValidator(Admission(SessionAuth(URLRouter(websocket_urlpatterns)))),
        "lifespan": Lifespan(run_beside),
    }
)
