"""Rename columns, indexes and constraints to the words that the code uses, and describe the columns plainly.

Stop all workers of 0.1 before this migration: their SQL uses the old names. Renames change the catalogue only. The one
table that is read is `dead_letters`, whose CHECK on the state is replaced, and only its discarded rows are written.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0007"
down_revision: Final = "0006"
branch_labels: Final = None
depends_on: Final = None

COLUMNS: Final = (
    ("batch_essay_trackers", "parked_count", "pending_count"),
    ("batch_pending_events", "parked_at", "pending_since"),
    ("consumed_offsets", "caught_up_at", "watermark_at"),
    ("dead_letters", "settled_at", "resolved_at"),
    ("event_outbox", "share", "shard"),
    ("event_outbox", "held_until", "next_attempt_at"),
    ("event_outbox", "input_ms", "input_timestamp_low31"),
)

CONSTRAINTS: Final = (
    ("batch_essay_trackers", "what_a_registration_says", "registration_complete"),
    ("batch_essay_trackers", "parked_only_unregistered", "pending_only_unregistered"),
    ("consumed_offsets", "record_mark", "record_fingerprint"),
    ("dead_letters", "settled", "resolved"),
    ("essay_states", "held_by_an_upload", "taken_by_upload"),
    ("event_outbox", "share", "shard"),
    ("slot_assignments", "held_by_an_upload", "taken_by_upload"),
)

# PostgreSQL 18 and later name these after the column.
NOT_NULL: Final = (
    ("batch_essay_trackers", "parked_count", "pending_count"),
    ("batch_pending_events", "parked_at", "pending_since"),
    ("event_outbox", "share", "shard"),
)

INDEXES: Final = (
    ("ix_batch_pending_events_parked_at", "ix_batch_pending_events_pending_since"),
    ("ix_event_outbox_held", "ix_event_outbox_deferred"),
)

# Column, the comment before this migration, the comment after it.
COMMENTS: Final = (
    (
        "batch_counts.completed",
        "to be added up: each row is a change, or the sum of earlier ones",
        "the count is the sum over all rows: each row is one change, or the sum of earlier changes",
    ),
    (
        "batch_essay_trackers.inventory",
        "which table holds the slots; chosen at registration, kept for good",
        "table with the slots of the batch; chosen at registration, never changed",
    ),
    ("batch_essay_trackers.conflict_count", "refused registrations", "registrations that contradict the first one"),
    (
        "batch_essay_trackers.next_sequence",
        "of the batch's outbox rows",
        "sequence that the next outbox row of the batch gets",
    ),
    (
        "batch_essay_trackers.registration_digest",
        "SHA-256 over what makes two registrations equal",
        "SHA-256 over the fields in which a repeated registration must agree",
    ),
    (
        "batch_pending_events.subject",
        "what makes a second delivery a repeat of the first",
        "two events of one batch and kind with the same subject are repeats",
    ),
    (
        "batch_pending_events.arrival",
        "order over all kinds of a batch",
        "order of arrival over all kinds of events of a batch",
    ),
    (
        "consumed_offsets.record_timestamp",
        "of the last handled record, milliseconds since the epoch",
        "timestamp of the last processed record, milliseconds since the epoch",
    ),
    (
        "consumed_offsets.record_crc",
        "CRC-32 over key and value of the last handled record",
        "CRC-32 over key and value of the last processed record",
    ),
    (
        "consumed_offsets.watermark_at",
        "an end offset read after this time was reached",
        "every record that the partition had at this time is processed",
    ),
    (
        "dead_letters.batch_id",
        "where the record could be read that far",
        "null if the batch id could not be read from the record",
    ),
    ("dead_letters.value", "the original bytes; gone with a purge", "the original bytes; null after a purge"),
    (
        "dead_letters.replay_of",
        "the dead letter whose replay failed into this one",
        "the first dead letter of the record, if this one was written because a replay failed",
    ),
    (
        "essay_states.file_upload_id",
        "of the content, or of the failed file, that holds the slot",
        "upload of the content, or of the failed file, that takes the slot",
    ),
    (
        "essay_states.correlation_id",
        "of the content or failure that holds the slot",
        "correlation id of the content or failure that takes the slot",
    ),
    (
        "essay_states.associated_at",
        "validated_at of the association that holds",
        "validated_at of the current association",
    ),
    (
        "event_outbox.order_key",
        "the batch id; a dead letter is its own",
        "rows of one key are published in order: the batch id, or an id of its own for a dead letter",
    ),
    (
        "event_outbox.shard",
        "one relay at a time owns a share; a key's rows lie in one",
        "one relay at a time owns a shard; all waiting rows of an order_key are in one shard",
    ),
    (
        "event_outbox.sequence",
        "per order_key, from the tracker under its lock",
        "order within an order_key; taken from the tracker row under its lock",
    ),
    (
        "event_outbox.next_attempt_at",
        "cannot be sent as it is; it holds back its order_key",
        "set when the row is rejected; it and all later rows of its order_key wait until this time",
    ),
    (
        "event_outbox.input_timestamp_low31",
        "low 31 bits of the input record's timestamp in milliseconds; null where the clock was the cause",
        "low 31 bits of the input record's timestamp in milliseconds; null if a timer caused the event",
    ),
    (
        "purge_log.removed",
        "rows removed by table; never anything of a person",
        "number of rows removed from each table; no personal data",
    ),
)


def upgrade() -> None:
    for table, old, new in COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    for table, old, new in CONSTRAINTS:
        op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT ck_{table}_{old} TO ck_{table}_{new}")
    for table, old, new in NOT_NULL:
        _rename_if_present(table, f"{table}_{old}_not_null", f"{table}_{new}_not_null")
    for old, new in INDEXES:
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
    for column, _, new in COMMENTS:
        _comment(column, new)
    op.execute("ALTER TABLE dead_letters DROP CONSTRAINT ck_dead_letters_state")
    op.execute("UPDATE dead_letters SET state = 'discarded' WHERE state = 'dropped'")
    _allow_states("('open', 'replayed', 'discarded')")


def downgrade() -> None:
    op.execute("ALTER TABLE dead_letters DROP CONSTRAINT ck_dead_letters_state")
    op.execute("UPDATE dead_letters SET state = 'dropped' WHERE state = 'discarded'")
    _allow_states("('open', 'replayed', 'dropped')")
    for column, old, _ in COMMENTS:
        _comment(column, old)
    for old, new in INDEXES:
        op.execute(f"ALTER INDEX {new} RENAME TO {old}")
    for table, old, new in NOT_NULL:
        _rename_if_present(table, f"{table}_{new}_not_null", f"{table}_{old}_not_null")
    for table, old, new in CONSTRAINTS:
        op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT ck_{table}_{new} TO ck_{table}_{old}")
    for table, old, new in COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")


def _rename_if_present(table: str, old: str, new: str) -> None:
    op.execute(f"""
        DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('{table}') AND conname = '{old}') THEN
                ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new};
            END IF;
        END $$
    """)


def _comment(column: str, comment: str) -> None:
    quoted = comment.replace("'", "''")
    op.execute(f"COMMENT ON COLUMN {column} IS '{quoted}'")


def _allow_states(states: str) -> None:
    op.execute(f"ALTER TABLE dead_letters ADD CONSTRAINT ck_dead_letters_state CHECK (state IN {states})")
