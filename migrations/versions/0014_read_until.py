"""How far each partition was read past its stored offset: transaction markers are no records, so they never move it.

When Kafka has deleted them, a worker that starts knows that no record was lost. Adding the column reads and writes no
row.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0014"
down_revision: Final = "0013"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.execute("ALTER TABLE consumed_offsets ADD COLUMN read_until bigint")
    op.execute(
        "COMMENT ON COLUMN consumed_offsets.read_until IS "
        "'the offsets from next_offset up to this one hold no records; null until it is known'"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE consumed_offsets DROP COLUMN read_until")
