"""Migration of the schema under one lock, with Alembic, which workers do without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.db import version_table
from els_stream.db.engine import create_migration_engine
from els_stream.db.explanations import explained
from els_stream.db.migration_waits import LOCK_TIMEOUT, with_retries
from els_stream.db.schema import FOLDER
from els_stream.db.suitability import require_suitable
from els_stream.errors import ServersUnavailable
from els_stream.queries.identity_counters import raise_counter, read_counters

LOCK_KEY: Final = 0x656C735F6D696772
LOCK_TIMEOUT_SECONDS: Final = 300.0
LOCK_POLL_INTERVAL_SECONDS: Final = 0.1

TRY_LOCK: Final = text("SELECT pg_try_advisory_lock(:key)")

log = structlog.get_logger(__name__)


async def upgrade(database_url: str, revision: str = "head") -> None:
    """Migrate the database, and raise the identity counters that lie behind their tables, if `revision` is the newest.

    Many processes may call this at once, beside running workers: one migrates, the others wait for it.
    """
    async with migrating(database_url) as conn:
        await with_retries(conn, partial(conn.run_sync, _alembic, command.upgrade, revision))
        if revision == "head":
            await with_retries(conn, partial(_raise_counters, conn))


async def downgrade(database_url: str, revision: str) -> None:
    """Migrate back, which deletes the data of later revisions; `base` deletes everything."""
    async with migrating(database_url) as conn:
        await conn.run_sync(_alembic, command.downgrade, revision)
        if revision == "base":
            await version_table.drop(conn)


@asynccontextmanager
async def migrating(database_url: str) -> AsyncIterator[AsyncConnection]:
    """Open a connection outside any transaction that has the lock of all migrations until it closes."""
    engine = create_migration_engine(database_url, LOCK_TIMEOUT)
    try:
        with explained(database_url, migrating=True):
            async with engine.connect() as conn:
                await require_suitable(conn)
                await _lock(conn)
                await with_retries(conn, partial(version_table.take_over, conn))
                yield conn
    finally:
        await engine.dispose()


async def _lock(conn: AsyncConnection) -> None:
    # Polled: a session that waits inside a statement keeps a snapshot, and CREATE INDEX CONCURRENTLY of the migration
    # that has the lock would wait for that snapshot for ever.
    try:
        async with asyncio.timeout(LOCK_TIMEOUT_SECONDS):
            while not await conn.scalar(TRY_LOCK, {"key": LOCK_KEY}):
                await conn.rollback()
                await asyncio.sleep(LOCK_POLL_INTERVAL_SECONDS)
    except TimeoutError as error:
        raise ServersUnavailable(f"another migration has run for {LOCK_TIMEOUT_SECONDS:.0f} s") from error
    await conn.commit()


async def _raise_counters(conn: AsyncConnection) -> None:
    """Lock one table at a time, and only if its counter lies behind it."""
    behind = [counter for counter in await read_counters(conn) if counter.is_behind]
    await conn.commit()
    for counter in behind:
        await raise_counter(conn, counter)
        await conn.commit()
        log.warning(
            "identity counter was behind its table",
            column=f"{counter.table}.{counter.column}",
            next_value=counter.next_value,
            highest=counter.highest,
        )


def _alembic(connection: Connection, run: Callable[[Config, str], None], revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    run(config, revision)
