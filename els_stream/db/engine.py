"""Database engines. Time limits are set on the server, so that a stopped process cannot keep a batch locked."""

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


# PostgreSQL before 17 has no `transaction_timeout`, and rejects a connection that sets it at its start.
_SET_TRANSACTION_TIMEOUT: Final = (
    "SELECT set_config(name, '{}', false) FROM pg_settings WHERE name = 'transaction_timeout'"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits in seconds."""

    connect: float = 5
    statement: float = 10
    lock: float = 2
    idle_in_transaction: float = 3

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        return cls(
            settings.database_connect_timeout_seconds,
            settings.statement_timeout_seconds,
            settings.lock_timeout_seconds,
            settings.idle_in_transaction_timeout_seconds,
        )

    @property
    def transaction(self) -> float:
        """The limit of a whole transaction, well above what one takes; a slow statement has its own limit.

        It ends the session of a process that was stopped between preparing and executing a statement, which PostgreSQL
        counts neither as idle nor as running.
        """
        return 2 * self.statement


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """The connections of a pool; `waiting` counts the tasks that wait for one."""

    size: int
    open: int
    checked_out: int
    waiting: int


class CountingPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool, which also counts the waiting tasks."""

    waiting = 0

    def connect(self) -> PoolProxiedConnection:
        self.waiting += 1
        try:
            return super().connect()
        finally:
            self.waiting -= 1


def pool_usage(engine: AsyncEngine) -> PoolUsage:
    """Return the usage of the pool of an engine that `create_engine` made."""
    pool = engine.pool
    if not isinstance(pool, CountingPool):
        raise TypeError("the engine's pool does not count")
    out = pool.checkedout()
    return PoolUsage(size=pool.size(), open=pool.checkedin() + out, checked_out=out, waiting=pool.waiting)


def create_engine(
    url: str, limits: Limits, *, pool_size: int = 10, name: str = "els", bitmaps: bool = True
) -> AsyncEngine:
    """Make an engine for the hot path. It does not test connections before use: the caller retries after an error.

    Its sessions use index plans only, and plan every statement again. A generic plan does not know the lengths of its
    arrays and is kept: one made while a table was small may have the wrong join order later. Without `bitmaps`, a
    statement that orders by an index reads the index in that order, no further than its limit.
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
        hide_parameters=True,  # they contain texts and names of students
        connect_args={
            "timeout": limits.connect,
            # Above the limit of the server: the client gives up only if the server does not answer at all.
            "command_timeout": limits.statement + limits.lock,
            "server_settings": server_settings,
        },
    )
    limit = _SET_TRANSACTION_TIMEOUT.format(_milliseconds(limits.transaction))
    event.listen(engine.sync_engine, "connect", partial(_execute, limit))
    return engine


def create_report_engine(url: str, connect_seconds: float) -> AsyncEngine:
    """Make an engine of one connection that reads whole tables: no time limits, and the planner's defaults."""
    return create_async_engine(url, pool_size=1, max_overflow=0, connect_args={"timeout": connect_seconds})


def _execute(statement: str, connection: AdaptedConnection, _: object) -> None:
    connection.run_async(lambda driver: driver.execute(statement))


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
