from __future__ import annotations

import json
from datetime import UTC, datetime

import jsonschema

from accounts.models import Notification, User
from accounts.services import notify
from live.schema import json_schema

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_a_notification_is_kept_and_given_as_its_frame(bob: User) -> None:
    stored, frame = notify(
        user=bob, level=Notification.Level.WARNING, title="Your key ends soon", body="In 3 days.", now=NOON
    )

    assert list(Notification.objects.for_user(bob).unread()) == [stored]
    assert frame == {
        "type": "notification",
        "v": 1,
        "id": str(stored.id),
        "level": "warning",
        "title": "Your key ends soon",
        "body": "In 3 days.",
        "created_at": 1_795_176_000_000,
    }


def test_the_frame_is_one_of_the_published_schema(bob: User) -> None:
    _, frame = notify(user=bob, level=Notification.Level.INFO, title="Hello", now=NOON)

    jsonschema.validate(json.loads(json.dumps(frame)), json_schema())
