"""Database engines. Time limits are set on the server, so that a stopped process cannot keep a batch locked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, AsyncAdaptedQueuePool, NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from els_stream.db.stale_sessions import discard_stale_sessions, open_session
from els_stream.postgres.connect import CONNECT_TIMEOUT_SECONDS, Connector
from els_stream.postgres.session import SessionNeeds

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import PoolProxiedConnection

    from els_stream.config.settings import Settings
    from els_stream.postgres.address import Address, UrlSource

_UNLIMITED: Final = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}


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
    url: UrlSource, limits: Limits, *, pool_size: int = 10, name: str = "els", bitmaps: bool = True
) -> AsyncEngine:
    """Make an engine for the hot path. It does not test connections before use: the caller retries after an error.

    Its sessions use index plans only, and plan every statement again. A generic plan does not know the lengths of its
    arrays and is kept: one made while a table was small may have the wrong join order later. Without `bitmaps`, a
    statement that orders by an index reads the index in that order, no further than its limit.
    """
    settings = {
        "statement_timeout": _milliseconds(limits.statement),
        "lock_timeout": _milliseconds(limits.lock),
        "idle_in_transaction_session_timeout": _milliseconds(limits.idle_in_transaction),
        "transaction_timeout": _milliseconds(limits.transaction),
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
    # The client's limit is above the server's: it gives up only if the server does not answer at all.
    needs = SessionNeeds(name=name, settings=settings, command_timeout=limits.statement + limits.lock)
    options = {
        "poolclass": CountingPool,
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": limits.connect,
        "pool_use_lifo": True,
        "hide_parameters": True,  # they contain texts and names of students
    }
    return _engine(Connector(url, needs, limits.connect), options)


def create_report_engine(url: UrlSource, connect_seconds: float = CONNECT_TIMEOUT_SECONDS) -> AsyncEngine:
    """Make an engine of one connection without time limits and with the planner's defaults, to read whole tables.

    It may read from a standby.
    """
    needs = SessionNeeds(name="els report", settings=_UNLIMITED, writable=False)
    return _engine(Connector(url, needs, connect_seconds), {"pool_size": 1, "max_overflow": 0})


def create_migration_engine(url: UrlSource, lock_timeout: str) -> AsyncEngine:
    """Make an engine whose statements may take any time, but wait for a lock only for this, in milliseconds."""
    settings = {**_UNLIMITED, "lock_timeout": lock_timeout}
    return _engine(Connector(url, SessionNeeds(name="els migrate", settings=settings)), {"poolclass": NullPool})


def _engine(connector: Connector, options: Mapping[str, Any]) -> AsyncEngine:
    engine = create_async_engine(_shown(connector.address()), async_creator=partial(open_session, connector), **options)
    discard_stale_sessions(engine.sync_engine, connector)
    return engine


def _shown(address: Address) -> URL:
    """Return the URL that the engine has for messages: its sessions come from the connector."""
    host = address.hosts[0]
    return URL.create(
        "postgresql+asyncpg", username=address.user, host=host.name, port=host.port, database=address.database
    )


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
