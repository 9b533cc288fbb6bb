"""`essay_states`: one row per slot of a registered batch; `slot_assignments`: the slot table of the older strategies.

A slot is free if its status is `uploaded` and it holds neither a content nor a failure. No CHECK limits the status,
since later phases of the platform have more values.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from tables.metadata import metadata

essay_states = Table(
    "essay_states",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("essay_id", Text, primary_key=True),
    Column("current_status", Text, nullable=False, server_default="uploaded"),
    Column("text_storage_id", Text),
    Column("file_upload_id", Text, comment="upload of the content, or of the failed file, that takes the slot"),
    Column("original_file_name", Text),
    Column("raw_file_storage_id", Text),
    Column("file_size_bytes", BigInteger),
    Column("content_md5_hash", Text),
    Column("correlation_id", Uuid, comment="correlation id of the content or failure that takes the slot"),
    Column("filled_at", DateTime(timezone=True)),
    Column("failed_at", DateTime(timezone=True)),
    Column("processing_metadata", JSONB(none_as_null=True)),
    Column("storage_references", JSONB(none_as_null=True)),
    Column("timeline", JSONB(none_as_null=True)),
    Column("student_id", Text),
    Column("association_method", Text),
    Column("association_confidence", Double),
    Column("associated_by", Text),
    Column("associated_at", DateTime(timezone=True), comment="validated_at of the current association"),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    ForeignKeyConstraint(["batch_id"], ["batch_essay_trackers.batch_id"], ondelete="CASCADE"),
    CheckConstraint("length(essay_id) BETWEEN 1 AND 255", name="essay_id_length"),
    CheckConstraint("(text_storage_id IS NOT NULL) = (filled_at IS NOT NULL)", name="filled"),
    CheckConstraint("current_status <> 'content_ingestion_failed' OR failed_at IS NOT NULL", name="failed"),
    CheckConstraint("text_storage_id IS NULL OR failed_at IS NULL", name="filled_or_failed"),
    CheckConstraint(
        "file_upload_id IS NOT NULL OR (text_storage_id IS NULL AND failed_at IS NULL)", name="taken_by_upload"
    ),
    CheckConstraint("association_confidence BETWEEN 0 AND 1", name="association_confidence"),
    CheckConstraint("association_method IN ('human', 'timeout', 'auto')", name="association_method"),
    # These two enforce I1 and I2 whatever the code does.
    Index(
        "uq_essay_states_text",
        "batch_id",
        "text_storage_id",
        unique=True,
        postgresql_where=text("text_storage_id IS NOT NULL"),
    ),
    Index(
        "uq_essay_states_upload",
        "batch_id",
        "file_upload_id",
        unique=True,
        postgresql_where=text("file_upload_id IS NOT NULL"),
    ),
    Index(
        "ix_essay_states_free",
        "batch_id",
        "essay_id",
        postgresql_where=text("current_status = 'uploaded' AND text_storage_id IS NULL AND failed_at IS NULL"),
    ),
    # A row grows threefold when its slot is filled. With free space on its page, a claim writes one page and not two,
    # and PostgreSQL logs the change and not the whole row.
    postgresql_with={"fillfactor": 30},
)

slot_assignments = Table(
    "slot_assignments",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("essay_id", Text, primary_key=True),
    Column("status", Text, nullable=False, server_default="available"),
    Column("text_storage_id", Text),
    Column("file_upload_id", Text),
    Column("assigned_at", DateTime(timezone=True)),
    ForeignKeyConstraint(["batch_id"], ["batch_essay_trackers.batch_id"], ondelete="CASCADE"),
    CheckConstraint("status IN ('available', 'assigned', 'failed')", name="status"),
    CheckConstraint("(status = 'assigned') = (text_storage_id IS NOT NULL)", name="assigned"),
    CheckConstraint("(status = 'available') = (file_upload_id IS NULL)", name="taken_by_upload"),
    Index(
        "uq_slot_assignments_text",
        "batch_id",
        "text_storage_id",
        unique=True,
        postgresql_where=text("text_storage_id IS NOT NULL"),
    ),
    Index(
        "uq_slot_assignments_upload",
        "batch_id",
        "file_upload_id",
        unique=True,
        postgresql_where=text("file_upload_id IS NOT NULL"),
    ),
    Index("ix_slot_assignments_available", "batch_id", "essay_id", postgresql_where=text("status = 'available'")),
)
