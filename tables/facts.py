"""Facts of a batch beside its slots: excess contents, failed uploads and pending events. They identify repeats."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from tables.metadata import metadata

batch_excess_content = Table(
    "batch_excess_content",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("text_storage_id", Text, primary_key=True),
    Column("file_upload_id", Text, nullable=False),
    Column("original_file_name", Text, nullable=False),
    Column("correlation_id", Uuid, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    ForeignKeyConstraint(["batch_id"], ["batch_essay_trackers.batch_id"], ondelete="CASCADE"),
    Index("uq_batch_excess_content_upload", "batch_id", "file_upload_id", unique=True),
)

batch_validation_failures = Table(
    "batch_validation_failures",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("file_upload_id", Text, primary_key=True),
    Column("original_file_name", Text, nullable=False),
    Column("raw_file_storage_id", Text, nullable=False),
    Column("error_code", Text, nullable=False),
    Column("error_detail", JSONB(none_as_null=True), nullable=False),
    Column("file_size_bytes", BigInteger, nullable=False),
    Column("correlation_id", Uuid, nullable=False),
    Column("failed_at", DateTime(timezone=True), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    ForeignKeyConstraint(["batch_id"], ["batch_essay_trackers.batch_id"], ondelete="CASCADE"),
    # A query with more known codes uses it too.
    Index(
        "ix_batch_validation_failures_unknown_code",
        "created_at",
        postgresql_where=text(
            "error_code NOT IN ('EMPTY_CONTENT', 'CONTENT_TOO_SHORT', 'CONTENT_TOO_LONG', 'RAW_STORAGE_FAILED',"
            " 'TEXT_EXTRACTION_FAILED', 'ENCRYPTED_FILE_UNSUPPORTED', 'UNKNOWN_VALIDATION_ERROR')"
        ),
    ),
)

batch_pending_events = Table(
    "batch_pending_events",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column(
        "subject", Text, primary_key=True, comment="two events of one batch and kind with the same subject are repeats"
    ),
    Column(
        "arrival",
        BigInteger,
        Identity(always=True),
        nullable=False,
        comment="order of arrival over all kinds of events of a batch",
    ),
    Column("source_topic", Text, nullable=False),
    Column("source_partition", Integer, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("source_timestamp", BigInteger, nullable=False, comment="milliseconds since the epoch"),
    Column("key", LargeBinary),
    Column("value", LargeBinary, nullable=False),
    Column("headers", LargeBinary, nullable=False, comment="JSON: [[name, value as Latin-1], ...]"),
    Column("pending_since", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    ForeignKeyConstraint(["batch_id"], ["batch_essay_trackers.batch_id"], ondelete="CASCADE"),
    CheckConstraint(
        "kind IN ('content_provisioned', 'validation_failed', 'associations_confirmed')",
        name="kind",
    ),
    Index("uq_batch_pending_events_arrival", "batch_id", "arrival", unique=True),
    Index("ix_batch_pending_events_pending_since", "pending_since"),
)
