"""The schema of the database, compared with this code.

A rolling upgrade migrates first and replaces the workers later. So a revision that this code does not know is a newer
one, and works with this code unless its migration says that workers must be stopped first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias, assert_never

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.db import version_table
from els_stream.db.suitability import require_suitable
from els_stream.errors import SchemaOutdated

# Beside the package, in a checkout and in an installation; never in the current folder.
FOLDER: Final = Path(__file__).resolve().parent.parent.parent / "migrations"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Current:
    """The schema is that of this code."""

    revision: str


@dataclass(frozen=True, slots=True)
class Outdated:
    """The schema is older than this code; `have` is None for a database without a schema."""

    have: str | None
    need: str


@dataclass(frozen=True, slots=True)
class Newer:
    """The schema is newer than this code."""

    have: str
    known: str


SchemaState: TypeAlias = Current | Outdated | Newer


async def check(conn: AsyncConnection) -> SchemaState:
    """Compare the revision of the database with the newest of this code."""
    have = await version_table.read_revision(conn)
    head, known = revisions()
    if have == head:
        return Current(head)
    if have is None or have in known:
        return Outdated(have, head)
    return Newer(have, head)


async def require(conn: AsyncConnection) -> None:
    """Raise SchemaOutdated for an older schema, with the command that helps; log a warning for a newer one.

    Raises ConfigurationError for a database that can't be used at all.
    """
    await require_suitable(conn)
    match await check(conn):
        case Current():
            pass
        case Outdated(have, need):
            at = "has no schema" if have is None else f"is at revision {have}"
            raise SchemaOutdated(f"the database {at}, this code needs {need}: run `els migrate`")
        case Newer(have, known):
            log.warning("schema is newer than this code", have=have, known=known)
        case unreachable:
            assert_never(unreachable)


@cache
def revisions() -> tuple[str, frozenset[str]]:
    """Return the newest revision of this code and all that it knows.

    The names of the files begin with them. Alembic would run the files, and take 7 MiB of a worker's memory.
    """
    known = frozenset(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))
    return max(known), known
