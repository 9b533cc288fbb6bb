"""The field at which a record breaks its contract, for groups of dead letters; an index to find batches by a prefix."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0011"
down_revision: Final = "0010"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.execute("ALTER TABLE dead_letters ADD COLUMN field text")
    op.execute(
        "COMMENT ON COLUMN dead_letters.field IS"
        " 'the field that breaks the contract, without positions in lists; null if not one'"
    )
    # The primary key has the order of the database's locale, in which a prefix is no range.
    op.execute(
        "CREATE INDEX ix_batch_essay_trackers_prefix ON batch_essay_trackers USING btree (batch_id text_pattern_ops)"
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_batch_essay_trackers_prefix")
    op.execute("ALTER TABLE dead_letters DROP COLUMN field")
