from __future__ import annotations

from django.db import migrations, models

# A relay that catches up, and a browser that was away, look back two hours at most; older rows stay as they are.
MARK_RECENT_CALLS = """
SET LOCAL lock_timeout = '5s';
UPDATE signals_signalresult result SET is_call = true
FROM signals_call call
WHERE call.candle_closed_at > now() - interval '3 hours'
  AND result.configuration_id = call.configuration_id AND result.ticker_id = call.ticker_id
  AND result.candle_closed_at = call.candle_closed_at
"""


class Migration(migrations.Migration):
    """The relay and replays need not join the calls, which are kept for ever, to know which verdicts were calls."""

    dependencies = [("signals", "0002_results")]

    operations = [
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.AddField(
            model_name="signalresult",
            name="is_call",
            field=models.BooleanField(db_default=False, help_text="It turned to BUY or SELL: there is a call of it."),
        ),
        migrations.RunSQL(MARK_RECENT_CALLS, migrations.RunSQL.noop),
    ]
