from __future__ import annotations

from django.test import Client

from signals.models import Call, Sweep
from signals.tasks import evaluate_tickers


def test_the_operator_sees_a_call_with_the_digest_of_its_candles(admin_client: Client, sweep: Sweep) -> None:
    evaluate_tickers(sweep_id=sweep.pk, ticker_ids=sweep.ticker_ids)
    call = Call.objects.first()
    assert call is not None

    page = admin_client.get(f"/admin/signals/call/{call.pk}/change/").content.decode()

    assert bytes(call.candles_digest).hex() in page
    assert 'name="_save"' not in page
