"""A database as release 0.1.0 left it: schema 0006 with rows in every table.

The rows in `rows_of_0_1.sql` were written by the handlers, the outbox, the replay and the purge of 0.1.0. Times were
changed afterwards: one GUEST batch is old, one batch is overdue and the others never are. Nothing was published but
the events of the purged batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import asyncpg

from els_stream.db import migration

REVISION: Final = "0006"
ROWS: Final = Path(__file__).with_name("rows_of_0_1.sql")

PURGED: Final = "the-class-of-1984"
OLD_GUESTS: Final = "cats-for-president"
WITH_DEFERRED_ROW: Final = "moby-dick-but-shorter"
WITHOUT_ASSOCIATIONS: Final = "the-semicolon-strikes-back"
COMPLETED: Final = "hamlet-should-have-texted"
UNREGISTERED: Final = "too-early-birds"
IN_SLOT_ASSIGNMENTS: Final = "the-old-filing-cabinet"
OVERDUE: Final = "my-dog-ate-the-deadline"
IN_DIRECT_SHARD: Final = "grandma-against-the-machine"


async def fill_as_0_1(database: str) -> None:
    """Make the schema of 0.1.0 in an empty database, and insert the rows."""
    await migration.upgrade(database, REVISION)
    conn = await asyncpg.connect(database)
    await conn.execute(ROWS.read_text(encoding="utf-8"))
    await rename_version_table(conn)
    await conn.close()


async def rename_version_table(conn: asyncpg.Connection) -> None:
    """Give the table with the revision the name that it had until 0.2.0, with Alembic's name of its key."""
    await conn.execute("ALTER TABLE els_schema_version RENAME TO alembic_version")
    await conn.execute("ALTER INDEX els_schema_version_pkc RENAME TO alembic_version_pkc")
