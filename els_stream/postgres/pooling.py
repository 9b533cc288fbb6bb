"""Recognise a pooler that gives a session's statements to several backends, as PgBouncer does in transaction mode.

Advisory locks, LISTEN, settings and prepared statements belong to a backend, so the service can't work behind one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from els_stream.errors import DatabaseUnusable
from els_stream.postgres.session import Session

# Beside busy clients of the pooler, a statement may come to the same backend again by chance.
ROUNDS: Final = 10
SECOND_SESSION_TIMEOUT_SECONDS: Final = 2.0
_BACKEND: Final = "SELECT pg_backend_pid()"
_ADVICE: Final = (
    "the pooler before the database gives each transaction another backend, but this service needs sessions "
    "(locks, LISTEN, settings): set pool_mode=session for its database or user, or connect past the pooler"
)


# A prepared statement that is unknown, or known already, on the backend that the next statement came to.
STATEMENT_LOST: Final = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)


def no_sessions() -> DatabaseUnusable:
    """Return the error to raise when statements of one session run on several backends."""
    return DatabaseUnusable(_ADVICE)


def is_pooled(session: Session, backend: int) -> bool:
    """Return whether a pooler is between: it gives out keys of its own for the cancelling of statements."""
    return session.get_server_pid() != backend


async def require_sessions(first: Session, log_in: Callable[[], Awaitable[Session]]) -> None:
    """Raise DatabaseUnusable if two open sessions share a backend, or one has several.

    `log_in` opens the second session. If it gets none in time, then the first one keeps its backend.
    """
    try:
        async with asyncio.timeout(SECOND_SESSION_TIMEOUT_SECONDS):
            second = await log_in()
    except TimeoutError:
        return
    try:
        async with asyncio.timeout(SECOND_SESSION_TIMEOUT_SECONDS):
            backend: int = await first.fetchval(_BACKEND)
            for _ in range(ROUNDS):
                await _compare(backend, first, second)
    except TimeoutError:
        return
    except STATEMENT_LOST:
        raise no_sessions() from None
    except asyncpg.PostgresError as error:
        if "statement pooling" in str(error):
            raise no_sessions() from None
        raise
    finally:
        second.terminate()


async def _compare(backend: int, first: Session, second: Session) -> None:
    await second.execute("BEGIN")
    other: int = await second.fetchval(_BACKEND)
    # The second session's transaction has its backend to itself, so the first must run on another one now.
    same: int = await first.fetchval(_BACKEND)
    await second.execute("ROLLBACK")
    if same != backend or other == backend:
        raise no_sessions()
