"""Shares of the outbox for rows that their writer sends itself.

Workers of before know nothing of these shares: stop them first. To go back, let the relays empty the outbox first.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0006"
down_revision: Final = "0005"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    _bound(95, "one relay at a time owns a share; a key''s rows lie in one")


def downgrade() -> None:
    _bound(63, "hash of order_key; one relay at a time owns a share")


def _bound(last: int, comment: str) -> None:
    op.execute(
        "ALTER TABLE event_outbox DROP CONSTRAINT ck_event_outbox_share, "
        f"ADD CONSTRAINT ck_event_outbox_share CHECK (share BETWEEN 0 AND {last})"
    )
    op.execute(f"COMMENT ON COLUMN event_outbox.share IS '{comment}'")
