"""Whether anything has changed that an open socket's rights depend on: asked for all sockets of a process together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.conf import settings
from django.db import connection

SocketOwner = tuple[str, int]
"""Session key and user id."""

# Everything that `delivery.groups_of` and the check of a session read, in one digest for each socket.
FIND_STAMPS = """
WITH universe AS (
    SELECT string_agg(id::text, ',' ORDER BY id) AS stamp FROM market_ticker
    WHERE exchange = %s AND is_followed AND status = 'trading'
), central AS (
    SELECT string_agg(concat_ws(':', preference.configuration_id, algorithm.name), ',' ORDER BY preference.id) AS stamp
    FROM signals_algorithmpreferences preference
    JOIN accounts_user master ON master.id = preference.user_id AND master.username = %s
    JOIN signals_configuration configuration ON configuration.id = preference.configuration_id
    JOIN signals_algorithm algorithm ON algorithm.id = configuration.algorithm_id AND algorithm.is_enabled
    WHERE preference.is_enabled
), everybodys AS (
    SELECT md5(concat_ws('|', coalesce(universe.stamp, ''), coalesce(central.stamp, ''))) AS stamp FROM universe, central
)
SELECT asked.session_key, asked.user_id, md5(concat_ws('|',
    everybodys.stamp, session.session_data, owner.password, owner.is_active, owner.is_demo,
    coalesce((
        SELECT string_agg(concat_ws(':', id, plan), ',' ORDER BY id) FROM billing_plangrant
        WHERE user_id = owner.id AND starts_at <= %s AND (ends_at IS NULL OR ends_at > %s)
    ), ''),
    (
        SELECT string_agg(concat_ws(':', preference.id, preference.configuration_id, preference.all_tickers, (
            SELECT string_agg(link.ticker_id::text, ',' ORDER BY link.ticker_id)
            FROM signals_algorithmpreferences_tickers link WHERE link.algorithmpreferences_id = preference.id
        )), ';' ORDER BY preference.id)
        FROM signals_algorithmpreferences preference WHERE preference.user_id = owner.id AND preference.is_enabled
    )
))
FROM unnest(%s::varchar[], %s::bigint[]) AS asked (session_key, user_id)
JOIN django_session session ON session.session_key = asked.session_key AND session.expire_date > %s
JOIN accounts_user owner ON owner.id = asked.user_id
CROSS JOIN everybodys
"""


def rights_stamps(*, owners: Sequence[SocketOwner], now: datetime) -> Mapping[SocketOwner, str]:
    """A digest for each owner whose session exists; as long as it is the same, what they may see is. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            FIND_STAMPS,
            [
                settings.EXCHANGE,
                settings.MASTER_BOT_USERNAME,
                now,
                now,
                [key for key, _ in owners],
                [user_id for _, user_id in owners],
                now,
            ],
        )
        return {(key, user_id): stamp for key, user_id, stamp in cursor.fetchall()}
