"""Completed batches counted as they complete and go, and a place in the outbox for the age of what came in."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0003"
down_revision: Final = "0002"
branch_labels: Final = None
depends_on: Final = None

COMMANDS: Final = (
    # In the workers' own order, so that neither waits for the other; nobody changes a batch while it is counted.
    "LOCK TABLE batch_essay_trackers IN SHARE ROW EXCLUSIVE MODE",
    "CREATE TABLE batch_counts (class_type TEXT NOT NULL, completed BIGINT NOT NULL)",
    "COMMENT ON COLUMN batch_counts.completed IS 'to be added up: each row is a change, or the sum of earlier ones'",
    """
    CREATE FUNCTION count_completed_batch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'INSERT' AND OLD.state = 'completed' THEN
            INSERT INTO batch_counts VALUES (OLD.class_type, -1);
        END IF;
        IF TG_OP <> 'DELETE' AND NEW.state = 'completed' THEN
            INSERT INTO batch_counts VALUES (NEW.class_type, 1);
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER count_completed_on_update AFTER UPDATE ON batch_essay_trackers FOR EACH ROW
    WHEN ((OLD.state = 'completed') <> (NEW.state = 'completed')) EXECUTE FUNCTION count_completed_batch()
    """,
    """
    CREATE TRIGGER count_completed_on_insert AFTER INSERT ON batch_essay_trackers FOR EACH ROW
    WHEN (NEW.state = 'completed') EXECUTE FUNCTION count_completed_batch()
    """,
    """
    CREATE TRIGGER count_completed_on_delete AFTER DELETE ON batch_essay_trackers FOR EACH ROW
    WHEN (OLD.state = 'completed') EXECUTE FUNCTION count_completed_batch()
    """,
    """
    INSERT INTO batch_counts
    SELECT class_type, count(*) FROM batch_essay_trackers WHERE state = 'completed' GROUP BY class_type
    """,
    "ALTER TABLE event_outbox ADD COLUMN input_ms INTEGER",
    """
    COMMENT ON COLUMN event_outbox.input_ms
        IS 'low 31 bits of the input record''s timestamp in milliseconds; null where the clock was the cause'
    """,
)


def upgrade() -> None:
    # One command at a time: the driver prepares what it sends, and a prepared statement is a single command.
    for command in COMMANDS:
        op.execute(command)


def downgrade() -> None:
    op.execute("ALTER TABLE event_outbox DROP COLUMN input_ms")
    for change in ("update", "insert", "delete"):
        op.execute(f"DROP TRIGGER count_completed_on_{change} ON batch_essay_trackers")
    op.execute("DROP FUNCTION count_completed_batch")
    op.execute("DROP TABLE batch_counts")
