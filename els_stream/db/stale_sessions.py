"""Throws sessions away that can't do their work any more: on a server that became read-only, or that lost a statement.

After a switch-over, a connection to the old primary may stay open. So one session that finds its server read-only
makes all pools of this process open new sessions, also those that only read and would never notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event, text
from sqlalchemy.exc import DisconnectionError

from els_stream.postgres.pooling import STATEMENT_LOST
from els_stream.postgres.session import IS_READ_ONLY, ReadOnlyServer

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy import Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

    from els_stream.postgres.connect import Connector
    from els_stream.postgres.session import Session

_GENERATION: Final = "els_generation"


class SessionGeneration:
    """Counts how often the sessions of this process were given up; older ones are not used again.

    `idle` has the sessions that lie in pools.
    """

    def __init__(self) -> None:
        self.current = 0
        self.idle: set[ConnectionPoolEntry] = set()

    def give_up(self) -> None:
        """Close the idle sessions of every pool now, and the others when they are given back."""
        self.current += 1
        for entry in self.idle:
            _terminate(entry)
        self.idle.clear()


sessions: Final = SessionGeneration()


async def open_session(connector: Connector) -> Session:
    """Open a session of the current generation.

    One that was opened while the sessions were given up may have found its server writable just before it was not.
    """
    while True:
        generation = sessions.current
        try:
            session = await connector.connect()
        except ReadOnlyServer:
            sessions.give_up()
            raise
        if generation == sessions.current:
            return session
        session.terminate()


def discard_stale_sessions(engine: Engine, connector: Connector) -> None:
    """Have the engine discard sessions of an earlier generation, and those whose errors show that they are useless."""

    def failed(context: ExceptionContext) -> None:
        state = getattr(context.original_exception, "sqlstate", None)
        if state == ReadOnlyServer.sqlstate:
            sessions.give_up()
            context.is_disconnect = True
        elif state in {error.sqlstate for error in STATEMENT_LOST}:
            connector.check_sessions_again()
            context.is_disconnect = True

    event.listen(engine, "connect", _connected)
    event.listen(engine, "checkout", _checked_out)
    event.listen(engine, "checkin", _checked_in)
    event.listen(engine, "close", _closed)
    event.listen(engine, "handle_error", failed)


def _connected(_: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    entry.info[_GENERATION] = sessions.current


def _checked_out(_: DBAPIConnection, entry: ConnectionPoolEntry, __: PoolProxiedConnection) -> None:
    sessions.idle.discard(entry)
    if entry.info.get(_GENERATION) != sessions.current:
        raise DisconnectionError


def _checked_in(_: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    if entry.info.get(_GENERATION) == sessions.current:
        sessions.idle.add(entry)
    else:
        _terminate(entry)


def _closed(_: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    sessions.idle.discard(entry)


def _terminate(entry: ConnectionPoolEntry) -> None:
    driver: asyncpg.Connection | None = entry.driver_connection
    if driver is not None:
        driver.terminate()


async def require_writable(conn: AsyncConnection) -> None:
    """Raise ReadOnlyServer, and give up all sessions, if this one's server is read-only."""
    _give_up_if(await conn.scalar(_IS_READ_ONLY))


async def require_writable_session(session: asyncpg.Connection[Any]) -> None:
    """Do what `require_writable` does, for a session without SQLAlchemy."""
    _give_up_if(await session.fetchval(IS_READ_ONLY))


def _give_up_if(read_only: object) -> None:
    if read_only:
        sessions.give_up()
        raise ReadOnlyServer("it is read-only: a standby, or made so")


_IS_READ_ONLY: Final = text(IS_READ_ONLY)
