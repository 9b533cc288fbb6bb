"""The tables of records: outbox, dead letters and consumed offsets; and the log of purges."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from tables.metadata import metadata

event_outbox = Table(
    "event_outbox",
    metadata,
    Column(
        "order_key",
        Text,
        primary_key=True,
        comment="rows of one key are published in order: the batch id, or an id of its own for a dead letter",
    ),
    Column("event_id", Uuid, primary_key=True),
    Column(
        "shard",
        SmallInteger,
        nullable=False,
        comment="one relay at a time owns a shard; all waiting rows of an order_key are in one shard",
    ),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column(
        "sequence",
        BigInteger,
        nullable=False,
        comment="order within an order_key; taken from the tracker row under its lock",
    ),
    Column("topic", Text, nullable=False, comment="logical name, without the prefix of an environment"),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", LargeBinary, nullable=False, comment="JSON: [[name, value as Latin-1], ...]"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column(
        "next_attempt_at",
        DateTime(timezone=True),
        comment="set when the row is rejected; it and all later rows of its order_key wait until this time",
    ),
    Column("last_error", Text),
    Column(
        "input_timestamp_low31",
        Integer,
        comment="low 31 bits of the input record's timestamp in milliseconds; null if a timer caused the event",
    ),
    CheckConstraint("shard BETWEEN 0 AND 95", name="shard"),
    Index("uq_event_outbox_position", "shard", "position", unique=True),
    Index("ix_event_outbox_deferred", "order_key", postgresql_where=text("next_attempt_at IS NOT NULL")),
)

outbox_segments = Table(
    "outbox_segments",
    metadata,
    Column(
        "shard",
        SmallInteger,
        primary_key=True,
        autoincrement=False,
        comment="one relay at a time owns a shard; all waiting segments of a batch are in one shard",
    ),
    Column("position", BigInteger, Identity(always=True), primary_key=True, comment="order within a shard"),
    Column("events", Integer, nullable=False),
    Column("size", Integer, nullable=False, comment="bytes of the events before compression"),
    Column("payload", LargeBinary, nullable=False, comment="a format byte and the events, see queries/segment_codec"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    CheckConstraint("shard BETWEEN 0 AND 95", name="shard"),
)


@event.listens_for(outbox_segments, "after_create")
def set_storage(_: Table, conn: Connection, **_options: object) -> None:
    """Store payloads as they are: they are compressed already."""
    conn.execute(text("ALTER TABLE outbox_segments ALTER COLUMN payload SET STORAGE EXTERNAL"))


dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("batch_id", Text, comment="null if the batch id could not be read from the record"),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("source_topic", Text, nullable=False),
    Column("source_partition", Integer, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("source_timestamp", BigInteger, nullable=False, comment="milliseconds since the epoch"),
    Column("key", LargeBinary),
    Column("value", LargeBinary, comment="the original bytes; null after a purge"),
    Column("value_size", BigInteger, nullable=False),
    Column("value_sha256", LargeBinary, nullable=False),
    Column("headers", LargeBinary, nullable=False, comment="JSON: [[name, value as Latin-1], ...]"),
    Column("state", Text, nullable=False, server_default="open"),
    Column(
        "replay_of",
        BigInteger,
        comment="the first dead letter of the record, if this one was written because a replay failed",
    ),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("resolved_at", DateTime(timezone=True)),
    Column("field", Text, comment="the field that breaks the contract, without positions in lists; null if not one"),
    ForeignKeyConstraint(["replay_of"], ["dead_letters.id"], ondelete="SET NULL"),
    CheckConstraint("state IN ('open', 'replayed', 'discarded')", name="state"),
    CheckConstraint("(state = 'open') = (resolved_at IS NULL)", name="resolved"),
    Index(
        "uq_dead_letters_source",
        "source_topic",
        "source_partition",
        "source_offset",
        "source_timestamp",
        unique=True,
        postgresql_where=text("replay_of IS NULL"),
    ),
    Index("ix_dead_letters_batch_id", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
    Index(None, "created_at"),
    Index(None, "replay_of"),
    Index("ix_dead_letters_listing", "state", "reason", "id"),
)

consumed_offsets = Table(
    "consumed_offsets",
    metadata,
    Column("consumer_group", Text, primary_key=True),
    Column("topic", Text, primary_key=True, comment="as the broker knows it, with the prefix of an environment"),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column(
        "record_timestamp", BigInteger, comment="timestamp of the last processed record, milliseconds since the epoch"
    ),
    Column("record_crc", BigInteger, comment="CRC-32 over key and value of the last processed record"),
    Column(
        "watermark_at", DateTime(timezone=True), comment="every record that the partition had at this time is processed"
    ),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column(
        "topic_id",
        Uuid,
        comment="the broker's id of the topic whose records were processed; null until it is known",
    ),
    Column(
        "read_until",
        BigInteger,
        comment="the offsets from next_offset up to this one hold no records; null until it is known",
    ),
    CheckConstraint("next_offset >= 0", name="next_offset_not_negative"),
    CheckConstraint("(record_timestamp IS NULL) = (record_crc IS NULL)", name="record_fingerprint"),
    postgresql_with={"fillfactor": 50},
)

skipped_offsets = Table(
    "skipped_offsets",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("consumer_group", Text, nullable=False),
    Column("topic", Text, nullable=False, comment="as the broker knows it, with the prefix of an environment"),
    Column("partition", Integer, nullable=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("last_offset", BigInteger, nullable=False, comment="inclusive"),
    Column("note", Text, nullable=False),
    Column("skipped_by", Text, nullable=False),
    Column("skipped_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    CheckConstraint("first_offset >= 0 AND last_offset >= first_offset", name="range"),
)

purge_log = Table(
    "purge_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("action", Text, nullable=False),
    Column("class_type", Text),
    Column("older_than_days", Integer),
    Column("batches", BigInteger, nullable=False),
    Column("removed", JSONB, nullable=False, comment="number of rows removed from each table; no personal data"),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint("action IN ('purge', 'purge_abandoned', 'erase_batch', 'erase_student')", name="action"),
    CheckConstraint("batches >= 0", name="batches_not_negative"),
)
