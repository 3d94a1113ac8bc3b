from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from billing.models import PlanGrant, PlanName

GRANTS = "/admin/billing/plangrant/"


def give(user: User, **changes: object) -> PlanGrant:
    values = {"plan": PlanName.PREMIUM, "starts_at": datetime.now(UTC) - timedelta(days=1), "reason": "partner"}
    return PlanGrant.objects.create(user=user, **(values | changes))


def test_a_grant_remembers_who_gave_it(operator: Client, oscar: User, bob: User) -> None:
    form = {"user": bob.pk, "plan": "premium", "starts_at_0": "2026-11-20", "starts_at_1": "12:00", "reason": "trial"}

    response = operator.post(f"{GRANTS}add/", form | {"granted_by": bob.pk})

    assert response.status_code == 302
    grant = PlanGrant.objects.get()
    assert (grant.user, grant.granted_by, grant.reason) == (bob, oscar, "trial")


def test_a_given_grant_is_ended_and_not_moved_to_somebody_else(operator: Client, oscar: User, bob: User) -> None:
    grant = give(bob)
    form = {"user": oscar.pk, "plan": "free", "ends_at_0": "2030-01-01", "ends_at_1": "00:00", "reason": "partner"}

    operator.post(f"{GRANTS}{grant.pk}/change/", form)

    grant.refresh_from_db()
    assert (grant.user, grant.plan) == (bob, PlanName.PREMIUM)
    assert grant.ends_at == datetime(2030, 1, 1, tzinfo=UTC)


def test_a_grant_that_ends_before_it_starts_is_refused_in_words(operator: Client, bob: User) -> None:
    form = {"user": bob.pk, "plan": "premium", "reason": "trial"}
    form |= {"starts_at_0": "2026-11-20", "starts_at_1": "12:00", "ends_at_0": "2026-11-19", "ends_at_1": "12:00"}

    response = operator.post(f"{GRANTS}add/", form)

    assert "A grant must end after it starts." in response.content.decode()
    assert not PlanGrant.objects.exists()


def test_only_a_superuser_deletes_a_grant(client: Client, bob: User) -> None:
    grant = give(bob)
    helper = User.objects.create_user("petra", "petra@example.org", "a long and quiet password", is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(content_type__app_label="billing"))
    client.force_login(helper)

    response = client.post(f"{GRANTS}{grant.pk}/delete/", {"post": "yes"})

    assert response.status_code == 403
    assert PlanGrant.objects.filter(pk=grant.pk).exists()


def test_the_list_of_users_shows_each_ones_plan_without_a_query_each(operator: Client, bob: User) -> None:
    give(bob)
    with CaptureQueriesContext(connection) as few:
        page = operator.get("/admin/accounts/user/").content.decode()
    for number in range(20):
        give(User.objects.create_user(f"user{number}", f"user{number}@example.org", None))
    with CaptureQueriesContext(connection) as many:
        operator.get("/admin/accounts/user/")

    assert '<td class="field-plan">Premium</td>' in page
    assert '<td class="field-plan">Free</td>' in page
    assert len(many) == len(few)
