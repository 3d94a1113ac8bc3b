from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models


class PlanName(models.TextChoices):
    FREE = "free"
    PREMIUM = "premium"


class PlanGrantQuerySet(models.QuerySet["PlanGrant"]):
    def active(self, at: datetime) -> PlanGrantQuerySet:
        return self.filter(starts_at__lte=at).exclude(ends_at__lte=at)


class PlanGrant(models.Model):
    """A plan given by an operator: a trial, a partner, a demo. Never edited to end early: set `ends_at`."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="plan_grants")
    plan = models.CharField(max_length=16, choices=PlanName)

    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until somebody sets it.")

    granted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="plans_granted"
    )
    reason = models.CharField(max_length=200)

    objects = PlanGrantQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["user", "-starts_at"], name="billing_plangrant_of_user")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ends_at__isnull=True) | models.Q(ends_at__gt=models.F("starts_at")),
                name="billing_plangrant_ends_after_start",
                violation_error_message="A grant must end after it starts.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan} for user {self.user_id} from {self.starts_at:%Y-%m-%d}"
