"""`batch_counts`: the number of completed batches, counted by triggers, whatever code completes or deletes a batch.

Each change adds a row, so that transactions do not wait for one counter row. A timer compacts the rows into one per
class type.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Table, Text, event, text

from tables.metadata import metadata
from tables.trackers import batch_essay_trackers

batch_counts = Table(
    "batch_counts",
    metadata,
    Column("class_type", Text, nullable=False),
    Column(
        "completed",
        BigInteger,
        nullable=False,
        comment="the count is the sum over all rows: each row is one change, or the sum of earlier changes",
    ),
)

# There is no key. Rows that are equal are interchangeable, so under logical replication the whole row identifies it.
_REPLICA_IDENTITY: Final = "ALTER TABLE batch_counts REPLICA IDENTITY FULL"

_COUNT: Final = """
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
"""
# An update that does not change whether the batch is completed costs only this comparison.
_TRIGGER: Final = """
    CREATE TRIGGER count_completed_on_{when} AFTER {when} ON batch_essay_trackers FOR EACH ROW
    WHEN ({condition}) EXECUTE FUNCTION count_completed_batch()
"""
_WHEN: Final = {
    "update": "(OLD.state = 'completed') <> (NEW.state = 'completed')",
    "insert": "NEW.state = 'completed'",
    "delete": "OLD.state = 'completed'",
}


@event.listens_for(batch_counts, "after_create")
def set_replica_identity(_: Table, conn: Connection, **_options: object) -> None:
    conn.execute(text(_REPLICA_IDENTITY))


@event.listens_for(batch_essay_trackers, "after_create")
def count_completed_batches(_: Table, conn: Connection, **_options: object) -> None:
    """Create the trigger function and its triggers together with the table of batches."""
    conn.execute(text(_COUNT))
    for when, condition in _WHEN.items():
        conn.execute(text(_TRIGGER.format(when=when, condition=condition)))
