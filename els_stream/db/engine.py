"""The engine of a worker: its limits stand on the server, so that a stopped process can't hold a batch hostage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import AsyncAdaptedQueuePool, event
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import AdaptedConnection
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import PoolProxiedConnection

    from els_stream.config.settings import Settings


# Before 17 PostgreSQL has no such limit, and would refuse a connection that names it at its start.
_LIMIT_TRANSACTIONS: Final = "SELECT set_config(name, '{}', false) FROM pg_settings WHERE name = 'transaction_timeout'"


@dataclass(frozen=True, slots=True)
class Limits:
    """All in seconds."""

    connect: float = 5
    statement: float = 10
    lock: float = 2
    idle_in_transaction: float = 3

    @property
    def transaction(self) -> float:
        """For a process stopped between preparing a statement and executing it: neither idle nor running, it says.

        Far above what a transaction takes: one that is only slow is for the statements' limit.
        """
        return 2 * self.statement


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """`waiting` are those who asked for a connection and have none yet."""

    size: int
    open: int
    checked_out: int
    waiting: int


class CountingPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's own, which also knows how many wait."""

    waiting = 0

    def connect(self) -> PoolProxiedConnection:
        self.waiting += 1
        try:
            return super().connect()
        finally:
            self.waiting -= 1


def use_of(engine: AsyncEngine) -> PoolUsage:
    """Of an engine that `create_engine` made."""
    pool = engine.pool
    if not isinstance(pool, CountingPool):
        raise TypeError("the engine's pool does not count")
    out = pool.checkedout()
    return PoolUsage(size=pool.size(), open=pool.checkedin() + out, checked_out=out, waiting=pool.waiting)


def limits_of(settings: Settings) -> Limits:
    return Limits(
        settings.database_connect_timeout_seconds,
        settings.statement_timeout_seconds,
        settings.lock_timeout_seconds,
        settings.idle_in_transaction_timeout_seconds,
    )


def create_engine(
    url: str, limits: Limits, *, pool_size: int = 10, name: str = "els", bitmaps: bool = True
) -> AsyncEngine:
    """An engine for the hot path. A connection that the pool hands out may be dead: the failure policy tries again.

    Its sessions plan for index probes only, and anew each time. A generic plan does not know how many rows come in by
    an array, and is kept: one that was made while a table was small may join the wrong way round when it is not.
    Without `bitmaps` a statement that asks for an index's order is read in it, and no further than its limit.
    """
    server_settings = {
        "application_name": name,
        "statement_timeout": _milliseconds(limits.statement),
        "lock_timeout": _milliseconds(limits.lock),
        "idle_in_transaction_session_timeout": _milliseconds(limits.idle_in_transaction),
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
        "jit": "off",
        "enable_seqscan": "off",
        "enable_bitmapscan": "on" if bitmaps else "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "plan_cache_mode": "force_custom_plan",
    }
    engine = create_async_engine(
        url,
        poolclass=CountingPool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=limits.connect,
        pool_use_lifo=True,
        hide_parameters=True,  # they are texts and names of students
        connect_args={
            "timeout": limits.connect,
            # Above the server's own limit: the client gives up only where the server can't answer at all.
            "command_timeout": limits.statement + limits.lock,
            "server_settings": server_settings,
        },
    )
    limit = _LIMIT_TRANSACTIONS.format(_milliseconds(limits.transaction))
    event.listen(engine.sync_engine, "connect", partial(_execute, limit))
    return engine


def _execute(statement: str, connection: AdaptedConnection, _: object) -> None:
    connection.run_async(lambda driver: driver.execute(statement))


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
