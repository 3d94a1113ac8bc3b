from __future__ import annotations

from datetime import datetime
from typing import Literal, cast

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
