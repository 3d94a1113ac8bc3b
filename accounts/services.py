from __future__ import annotations

from datetime import datetime
from typing import Literal, cast

from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Sum

from accounts.models import Notification, User
from live.messages import WIRE_VERSION, NotificationFrame


def notify(
    *, user: User, level: Notification.Level, title: str, body: str = "", now: datetime
) -> tuple[Notification, NotificationFrame]:
    """Stores something the user should know, and gives it with the frame that shows it on their open pages.

    The caller publishes the frame to the user's private group once its transaction has committed.
    """
    notification = Notification.objects.create(user=user, level=level, title=title, body=body, created_at=now)
    frame = NotificationFrame(
        type="notification",
        v=WIRE_VERSION,
        id=str(notification.id),
        level=cast("Literal['info', 'warning', 'error']", level.value),
        title=title,
        body=body,
        created_at=int(now.timestamp() * 1000),
    )
    return notification, frame


def failed_log_ins(*, address: str | None, now: datetime) -> int:
    """How many wrong passwords came from an address lately, whatever the names: somebody may try one on many people."""
    lately = AccessAttempt.objects.filter(ip_address=address, attempt_time__gt=now - settings.AXES_COOLOFF_TIME)
    return lately.aggregate(failures=Sum("failures_since_start"))["failures"] or 0
