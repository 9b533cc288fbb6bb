"""The waits of a migration for locks of other sessions: they are logged with who holds them, and tried again.

A statement that waits for a table's lock makes every later statement on the table wait behind it, also those of
running workers. So it gives up after a short lock time-out, lets them pass, and is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.db.errors import DATABASE_ERRORS, chain, sqlstate
from els_stream.errors import ServersUnavailable

# In milliseconds.
LOCK_TIMEOUT: Final = "3000"
PAUSE_SECONDS: Final = 2.0
MAX_WAIT_SECONDS: Final = 300.0
POLL_INTERVAL_SECONDS: Final = 0.25
STOP_TIMEOUT_SECONDS: Final = 2.0
LOCK_NOT_AVAILABLE: Final = "55P03"

_PID: Final = text("SELECT pg_backend_pid()")
_BLOCKERS: Final = text("""
    SELECT pid, application_name AS application, usename AS user, xact_start AS since
    FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(:pid))
    ORDER BY xact_start
""")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that has a lock; `since` is the start of its transaction, None if the role may not see it."""

    pid: int
    application: str
    user: str | None
    since: datetime | None

    def __str__(self) -> str:
        since = "" if self.since is None else f" since {self.since:%Y-%m-%d %H:%M:%S %Z}"
        return f"process {self.pid} ({self.application or 'no application_name'}, role {self.user}){since}"


async def with_retries(conn: AsyncConnection, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work on this connection, again while a lock is not available; roll back before each repetition.

    Raises ServersUnavailable with the holder of the lock after MAX_WAIT_SECONDS.
    """
    pid = await conn.scalar(_PID)
    await conn.commit()
    deadline = asyncio.get_running_loop().time() + MAX_WAIT_SECONDS
    async with _watched(conn.engine, pid) as seen:
        while True:
            try:
                await work()
            except DBAPIError as error:
                if LOCK_NOT_AVAILABLE not in map(sqlstate, chain(error)):
                    raise
                await conn.rollback()
                if asyncio.get_running_loop().time() > deadline:
                    raise _still_locked(seen) from error
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return


def _still_locked(seen: dict[int, Blocker]) -> ServersUnavailable:
    who = "; ".join(map(str, seen.values())) or "another session"
    return ServersUnavailable(
        f"the migration waited {MAX_WAIT_SECONDS:.0f} s for a lock of {who}: end that transaction, then migrate again"
    )


@asynccontextmanager
async def _watched(engine: AsyncEngine, pid: int) -> AsyncIterator[dict[int, Blocker]]:
    """Log each session that blocks this one, once; yields them by process id."""
    seen: dict[int, Blocker] = {}
    over = asyncio.Event()
    watching = asyncio.create_task(_watch(engine, pid, seen, over))
    try:
        yield seen
    finally:
        # asyncpg does not end a log-in over TLS that is cancelled: it closes the connection in the background.
        over.set()
        await asyncio.wait([watching], timeout=STOP_TIMEOUT_SECONDS)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(engine: AsyncEngine, pid: int, seen: dict[int, Blocker], over: asyncio.Event) -> None:
    with suppress(*DATABASE_ERRORS):  # without a second connection the migration goes on unwatched
        async with engine.connect() as conn:
            while not over.is_set():
                for row in (await conn.execute(_BLOCKERS, {"pid": pid})).all():
                    blocker = Blocker(*row)
                    if seen.get(blocker.pid) != blocker:
                        log.warning("migration_waits", blocked_by=str(blocker))
                        seen[blocker.pid] = blocker
                await conn.rollback()
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), POLL_INTERVAL_SECONDS)
