"""Indexes for what a person looks through: batches and dead letters, the newest first, by state and kind."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"
branch_labels: Final = None
depends_on: Final = None

INDEXES: Final = {
    "ix_batch_essay_trackers_listing": "batch_essay_trackers (class_type, state, created_at, batch_id)",
    "ix_dead_letters_listing": "dead_letters (state, reason, id)",
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
