"""PostgreSQL tables in SQLAlchemy Core. They are not Faust tables: PostgreSQL is the only state of the service."""

from __future__ import annotations

from tables.counts import batch_counts
from tables.essays import essay_states, slot_assignments
from tables.events import consumed_offsets, dead_letters, event_outbox, outbox_segments, purge_log, skipped_offsets
from tables.facts import batch_excess_content, batch_pending_events, batch_validation_failures
from tables.metadata import Base, metadata
from tables.trackers import batch_essay_trackers

__all__ = [
    "Base",
    "batch_counts",
    "batch_essay_trackers",
    "batch_excess_content",
    "batch_pending_events",
    "batch_validation_failures",
    "consumed_offsets",
    "dead_letters",
    "essay_states",
    "event_outbox",
    "metadata",
    "outbox_segments",
    "purge_log",
    "skipped_offsets",
    "slot_assignments",
]
