"""`batch_essay_trackers`: one row per batch; every change of a batch is made under the lock of this row."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from tables.metadata import metadata

batch_essay_trackers = Table(
    "batch_essay_trackers",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("state", Text, nullable=False, server_default="unregistered"),
    Column("inventory", Text, comment="table with the slots of the batch; chosen at registration, never changed"),
    Column("class_type", Text),
    Column("expected_count", Integer),
    Column("free_count", Integer, nullable=False, server_default="0"),
    Column("filled_count", Integer, nullable=False, server_default="0"),
    Column("failed_count", Integer, nullable=False, server_default="0"),
    Column("pending_count", Integer, nullable=False, server_default="0"),
    Column(
        "conflict_count",
        Integer,
        nullable=False,
        server_default="0",
        comment="registrations that contradict the first one",
    ),
    Column(
        "next_sequence",
        BigInteger,
        nullable=False,
        server_default="1",
        comment="sequence that the next outbox row of the batch gets",
    ),
    Column(
        "registration_digest",
        LargeBinary,
        comment="SHA-256 over the fields in which a repeated registration must agree",
    ),
    Column("course_code", Text),
    Column("user_id", Text),
    Column("org_id", Text),
    Column("class_id", Text),
    Column("correlation_id", Uuid),
    Column("student_prompt_ref", JSONB(none_as_null=True)),
    Column("deadline_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("registered_at", DateTime(timezone=True)),
    Column("content_completed_at", DateTime(timezone=True)),
    Column("associations_confirmed_at", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    Column("timed_out_at", DateTime(timezone=True)),
    Column("purged_at", DateTime(timezone=True)),
    Column(
        "outbox_shard",
        SmallInteger,
        comment="with outbox_position: the last segment with events of the batch; while it exists, some may be unsent",
    ),
    Column("outbox_position", BigInteger),
    CheckConstraint("length(batch_id) BETWEEN 1 AND 255", name="batch_id_length"),
    CheckConstraint(
        "state IN ('unregistered', 'open', 'content_complete', 'completed', 'purged')",
        name="state",
    ),
    CheckConstraint("inventory IN ('essay_states', 'slot_assignments')", name="inventory"),
    CheckConstraint("class_type IN ('GUEST', 'REGULAR')", name="class_type"),
    CheckConstraint(
        "free_count >= 0 AND filled_count >= 0 AND failed_count >= 0 AND pending_count >= 0",
        name="counts_not_negative",
    ),
    # I3: each registered slot is free, filled or failed.
    CheckConstraint(
        "expected_count IS NULL OR free_count + filled_count + failed_count = expected_count",
        name="counts_add_up",
    ),
    CheckConstraint(
        "(state = 'unregistered') = (registered_at IS NULL)"
        " AND (state = 'unregistered') = (expected_count IS NULL)"
        " AND (state = 'unregistered') = (class_type IS NULL)",
        name="registered",
    ),
    CheckConstraint(
        "state IN ('unregistered', 'purged')"
        " OR (inventory IS NOT NULL AND registration_digest IS NOT NULL AND course_code IS NOT NULL"
        " AND user_id IS NOT NULL AND correlation_id IS NOT NULL AND deadline_at IS NOT NULL)",
        name="registration_complete",
    ),
    CheckConstraint("state = 'unregistered' OR pending_count = 0", name="pending_only_unregistered"),
    # The tombstone of an abandoned batch has no completion times.
    CheckConstraint(
        "state = 'purged'"
        " OR (state IN ('content_complete', 'completed')) = (content_completed_at IS NOT NULL)"
        " AND (state = 'completed') = (completed_at IS NOT NULL)"
        " AND (state NOT IN ('content_complete', 'completed') OR free_count = 0)",
        name="completion",
    ),
    CheckConstraint("(state = 'purged') = (purged_at IS NOT NULL)", name="purged"),
    CheckConstraint("(outbox_shard IS NULL) = (outbox_position IS NULL)", name="outbox"),
    CheckConstraint("state <> 'open' OR free_count > 0", name="open_has_free_slots"),
    Index(None, "class_type", "state"),
    Index("ix_batch_essay_trackers_prefix", "batch_id", postgresql_ops={"batch_id": "text_pattern_ops"}),
    Index("ix_batch_essay_trackers_listing", "class_type", "state", "created_at", "batch_id"),
    Index(
        "ix_batch_essay_trackers_deadline",
        "deadline_at",
        postgresql_where=text("state = 'open' AND timed_out_at IS NULL"),
    ),
    Index("ix_batch_essay_trackers_unregistered", "created_at", postgresql_where=text("state = 'unregistered'")),
    Index("ix_batch_essay_trackers_completed", "completed_at", postgresql_where=text("state = 'completed'")),
    Index(
        "ix_batch_essay_trackers_finished_guests",
        "completed_at",
        "batch_id",
        postgresql_where=text("state = 'completed' AND class_type = 'GUEST'"),
    ),
    Index("ix_batch_essay_trackers_purged", "purged_at", postgresql_where=text("state = 'purged'")),
    # Free space for updates of the counters on the same page: no index contains a counter, so updates are heap-only.
    postgresql_with={"fillfactor": 70},
)
