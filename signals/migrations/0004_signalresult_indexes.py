from __future__ import annotations

from django.db import migrations, models

# By the candle first: what a sweep writes lies side by side at the end of the index, on a hundred pages instead of on one
# page for each of 24,000 pairs.
# And a BRIN is only as good as its last summary, which autovacuum makes when it comes round: of rows that came since, every
# page is read. A b-tree costs 6.5 bytes a row and about 1 % of the insert: docs/DATA.md, "How questions are answered".
BY_TIME = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE signals_signalresult DROP CONSTRAINT signals_signalresult_identity;
ALTER TABLE signals_signalresult
    ADD CONSTRAINT signals_signalresult_identity UNIQUE (candle_closed_at, configuration_id, ticker_id);
DROP INDEX signals_signalresult_slot;
CREATE INDEX signals_signalresult_slot ON signals_signalresult (slot);
"""
BY_PAIR = """
SET LOCAL lock_timeout = '5s';
ALTER TABLE signals_signalresult DROP CONSTRAINT signals_signalresult_identity;
ALTER TABLE signals_signalresult
    ADD CONSTRAINT signals_signalresult_identity UNIQUE (configuration_id, ticker_id, candle_closed_at);
DROP INDEX signals_signalresult_slot;
CREATE INDEX signals_signalresult_slot ON signals_signalresult
    USING brin (slot) WITH (autosummarize = on, pages_per_range = 16);
"""


class Migration(migrations.Migration):
    """Builds two indexes over all verdicts and locks their table meanwhile: stop the workers first."""

    dependencies = [("signals", "0003_signalresult_is_call")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(BY_TIME, reverse_sql=BY_PAIR)],
            state_operations=[
                migrations.RemoveConstraint(model_name="signalresult", name="signals_signalresult_identity"),
                migrations.AddConstraint(
                    model_name="signalresult",
                    constraint=models.UniqueConstraint(
                        fields=["candle_closed_at", "configuration", "ticker"], name="signals_signalresult_identity"
                    ),
                ),
                migrations.RemoveIndex(model_name="signalresult", name="signals_signalresult_slot"),
                migrations.AddIndex(
                    model_name="signalresult",
                    index=models.Index(fields=["slot"], name="signals_signalresult_slot"),
                ),
            ],
        ),
    ]
