"""Give `batch_counts` a replica identity, so that its rows can be deleted while the table is published.

It has no key, since its rows are changes that are added up. PostgreSQL refuses to delete rows of such a table under
logical replication (`CREATE PUBLICATION … FOR ALL TABLES`). The whole row identifies it: rows that are equal are
interchangeable. The change is one of the catalogue only.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0008"
down_revision: Final = "0007"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    op.execute("ALTER TABLE batch_counts REPLICA IDENTITY FULL")


def downgrade() -> None:
    op.execute("ALTER TABLE batch_counts REPLICA IDENTITY DEFAULT")
