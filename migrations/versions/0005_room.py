"""Room in the pages of essays: a slot that is filled grows threefold, and stays on its page where there is room.

What is there already stays as it is; whatever registers from now on has the room.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0005"
down_revision: Final = "0004"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.execute("ALTER TABLE essay_states SET (fillfactor = 30)")


def downgrade() -> None:
    op.execute("ALTER TABLE essay_states RESET (fillfactor)")
