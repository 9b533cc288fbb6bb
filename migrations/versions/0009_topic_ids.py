"""The id of the topic beside each stored offset: a topic that was deleted and created again has another.

Rows of before get theirs when a worker takes their partition. Adding the column reads and writes no row.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0009"
down_revision: Final = "0008"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.execute("ALTER TABLE consumed_offsets ADD COLUMN topic_id uuid")
    op.execute(
        "COMMENT ON COLUMN consumed_offsets.topic_id IS "
        "'the broker''s id of the topic whose records were processed; null until it is known'"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE consumed_offsets DROP COLUMN topic_id")
