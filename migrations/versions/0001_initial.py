"""All tables of the main job: batches, slots, facts, outbox, dead letters and the ledger of consumed offsets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from alembic import op

revision: Final = "0001"
down_revision: Final = None
branch_labels: Final = None
depends_on: Final = None

TABLES: Final = (
    "slot_assignments",
    "essay_states",
    "batch_validation_failures",
    "batch_pending_events",
    "batch_excess_content",
    "purge_log",
    "event_outbox",
    "dead_letters",
    "consumed_offsets",
    "batch_essay_trackers",
)


def upgrade() -> None:
    # One command at a time: the driver prepares what it sends, and a prepared statement is a single command.
    for command in re.split(r";\n+", Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").rstrip("\n;")):
        op.execute(command)


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
