from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models


class User(AbstractUser):
    """A person, or the master bot that runs the central feed."""

    is_demo = models.BooleanField(
        default=False, help_text="Made by `make run` with a printed password. Cannot log in outside demo mode."
    )

    objects: ClassVar[UserManager[User]] = UserManager()  # type: ignore[assignment]  # the stubs say Self

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["email"],
                condition=~models.Q(email=""),
                name="accounts_user_email_unique",
            ),
        ]


class NotificationQuerySet(models.QuerySet["Notification"]):
    def for_user(self, user: User) -> NotificationQuerySet:
        return self.filter(user=user)

    def unread(self) -> NotificationQuerySet:
        return self.filter(read_at__isnull=True)

    def older_than(self, at: datetime) -> NotificationQuerySet:
        return self.filter(created_at__lt=at)


class Notification(models.Model):
    """Something a user should know. Shown at once on every open page, and kept."""

    class Level(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        ERROR = "error"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="notifications")

    level = models.CharField(max_length=7, choices=Level, default=Level.INFO)
    title = models.CharField(max_length=120)
    body = models.TextField(blank=True)

    created_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True, blank=True)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        indexes = [
            # The bell: a user's newest notifications.
            models.Index(fields=["user", "-created_at"], name="accounts_notification_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.id})"
