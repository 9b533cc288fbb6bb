"""The table with the revision of the schema. Its name is our own, so that another application's Alembic can be beside.

Up to revision 0010 it was called `alembic_version`, as Alembic does for everybody. A table of that name is
ours only if the tables of our first revision are in its schema and its one revision is one that had that name:
other applications number their revisions like ours too.
"""

from __future__ import annotations

from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

VERSION_TABLE: Final = "els_schema_version"
REVISIONS_WITH_OLD_NAME: Final = frozenset(f"{number:04}" for number in range(1, 11))

_IN_FIRST_REVISION: Final = (
    "batch_essay_trackers",
    "batch_excess_content",
    "batch_pending_events",
    "batch_validation_failures",
    "consumed_offsets",
    "dead_letters",
    "essay_states",
    "event_outbox",
    "purge_log",
    "slot_assignments",
)
_NAMES: Final = text("""
    SELECT to_regclass('els_schema_version') IS NOT NULL AS own,
        (SELECT count(*) FROM pg_class JOIN pg_class AS version USING (relnamespace)
         WHERE version.oid = to_regclass('alembic_version')
           AND pg_class.relname = ANY (:tables) AND pg_class.relkind IN ('r', 'p')) AS tables
""")
_OWN: Final = text("SELECT version_num FROM els_schema_version")
_OLD: Final = text("SELECT version_num FROM alembic_version")
_RENAME: Final = (
    text("ALTER TABLE alembic_version RENAME TO els_schema_version"),
    text("ALTER INDEX IF EXISTS alembic_version_pkc RENAME TO els_schema_version_pkc"),
)
_DROP: Final = text("DROP TABLE IF EXISTS els_schema_version")

log = structlog.get_logger(__name__)


async def read_revision(conn: AsyncConnection) -> str | None:
    """Return the revision of the schema, under the table's old name too; None if there is no schema of ours."""
    own, old = await _present(conn)
    if own:
        revision: str | None = await conn.scalar(_OWN)
        return revision
    return await _old_revision(conn) if old else None


async def take_over(conn: AsyncConnection) -> None:
    """Rename the table of an older release, and commit. The lock of all migrations must be held."""
    own, old = await _present(conn)
    if old and not own and await _old_revision(conn) is not None:
        for statement in _RENAME:
            await conn.execute(statement)
        log.info("version_table_renamed", old="alembic_version", new=VERSION_TABLE)
    await conn.commit()


async def drop(conn: AsyncConnection) -> None:
    """Drop the table, and commit."""
    await conn.execute(_DROP)
    await conn.commit()


async def _present(conn: AsyncConnection) -> tuple[bool, bool]:
    """Return whether the table exists, and whether one of the old name is beside all tables of the first revision."""
    row = (await conn.execute(_NAMES, {"tables": list(_IN_FIRST_REVISION)})).one()
    return row.own, row.tables == len(_IN_FIRST_REVISION)


async def _old_revision(conn: AsyncConnection) -> str | None:
    found = (await conn.scalars(_OLD)).all()
    return found[0] if len(found) == 1 and found[0] in REVISIONS_WITH_OLD_NAME else None
