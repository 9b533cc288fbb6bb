"""Indexes for the purge: the oldest finished GUEST batches, and the oldest tombstones, without a walk over the rest."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0004"
down_revision: Final = "0003"
branch_labels: Final = None
depends_on: Final = None

INDEXES: Final = {
    "ix_batch_essay_trackers_finished_guests": (
        "batch_essay_trackers (completed_at, batch_id) WHERE state = 'completed' AND class_type = 'GUEST'"
    ),
    "ix_batch_essay_trackers_purged": "batch_essay_trackers (purged_at) WHERE state = 'purged'",
}


def upgrade() -> None:
    # Workers go on meanwhile. What a build left that was broken off is not valid, and is made anew.
    with op.get_context().autocommit_block():
        for name, columns in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {columns}")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY {name}")
