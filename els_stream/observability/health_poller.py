"""Check database and broker at an interval, so that probes are answered at once, from results of a known age."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Final, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.db import schema
from els_stream.db.errors import DATABASE_ERRORS, classify
from els_stream.db.schema import Outdated
from els_stream.db.stale_sessions import require_writable
from els_stream.errors import DatabaseUnusable
from els_stream.kafka.consumer_group import GroupMember, GroupRefused, Ownership, Unreachable
from els_stream.observability.health import Code, Reason, group_reasons
from els_stream.postgres.connect import NoUsableHost
from els_stream.queries.stats import Stats, read_stats
from els_stream.tasks import run_every

CHECK_INTERVAL_SECONDS: Final = 1.0
DATABASE_TIMEOUT_SECONDS: Final = 3.0
STATS_TIMEOUT_SECONDS: Final = 10.0
STALE_AFTER_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


class GroupView(Protocol):
    """The broker's view of the consumer group."""

    async def describe(self) -> Ownership | GroupRefused | Unreachable: ...
    async def close(self) -> None: ...


class CachedCheck:
    """The last result of one check. `code` is the reason given when the result is too old."""

    def __init__(self, code: Code, clock: Callable[[], float]) -> None:
        self._code = code
        self._clock = clock
        self._checked_at: float | None = None
        self._reasons: Collection[Reason] = ()

    def update(self, reasons: Collection[Reason]) -> None:
        """Store a new result, and log it if its codes differ from the last one's."""
        if {r.code for r in reasons} != {r.code for r in self._reasons}:
            log.info("readiness_changed", reasons=[f"{r.code}: {r.detail}" for r in reasons])
        self._checked_at, self._reasons = self._clock(), reasons

    def reasons(self) -> Collection[Reason]:
        """Return the last result, or one reason if there is none yet or if it is too old: the check then hangs."""
        if self._checked_at is None:
            return [Reason(Code.UNKNOWN, f"{self._code}: not checked yet")]
        age = self._clock() - self._checked_at
        return self._reasons if age < STALE_AFTER_SECONDS else [Reason(self._code, f"not checked for {age:.0f} s")]


class HealthPoller:
    """Runs its checks between `start` and `stop`. Each check of the database takes one connection for a moment."""

    def __init__(
        self,
        engine: AsyncEngine,
        group: GroupView,
        *,
        member_id: Callable[[], str | None],
        stats_interval: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`member_id` returns the id of this worker in the group, empty or None while it is no member."""
        self._engine = engine
        self._group = group
        self._member_id = member_id
        self._clock = clock
        self._stats_interval = stats_interval
        self._stats: tuple[Stats, float] | None = None
        self._database = CachedCheck(Code.DATABASE, clock)
        self._broker = CachedCheck(Code.BROKER, clock)
        self._workers: Sequence[GroupMember] = ()
        self._tasks: list[asyncio.Task[None]] = []

    def reasons(self) -> list[Reason]:
        return [*self._database.reasons(), *self._broker.reasons()]

    def workers(self) -> Sequence[GroupMember]:
        """Return the workers of the group at the last check that the broker answered."""
        return self._workers

    def stats(self) -> tuple[Stats, float] | None:
        """Return the last stats and their age in seconds; None before the first read."""
        if self._stats is None:
            return None
        stats, read_at = self._stats
        return stats, self._clock() - read_at

    async def start(self) -> None:
        """Start the checks in tasks; returns at once, also if no server can be reached."""
        self._tasks = [
            asyncio.create_task(run_every(CHECK_INTERVAL_SECONDS, self.check_database), name="check database"),
            asyncio.create_task(run_every(CHECK_INTERVAL_SECONDS, self.check_group), name="check consumer group"),
            asyncio.create_task(run_every(self._stats_interval, self.read_stats), name="read stats"),
        ]

    async def stop(self) -> None:
        """End the checks and close the connection to the broker."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._group.close()

    async def check_database(self) -> None:
        """Check that the database answers in time and has a current schema."""
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), self._engine.connect() as conn:
                await require_writable(conn)
                state = await schema.check(conn)
        except DATABASE_ERRORS as error:
            self._database.update([Reason(Code.DATABASE, _detail(error))])
        else:
            self._database.update(
                [Reason(Code.SCHEMA, f"at {state.have}, this code needs {state.need}: run `els migrate`")]
                if isinstance(state, Outdated)
                else ()
            )

    async def check_group(self) -> None:
        """Check that the broker answers, that every partition has an owner, and that this worker is a member."""
        before = self._member_id()
        described = await self._group.describe()
        if isinstance(described, Ownership):
            self._workers = described.workers
        settled = before if before == self._member_id() else None
        self._broker.update(group_reasons(described, settled))

    async def read_stats(self) -> None:
        """Read the counts of all batches. If this fails, their age grows, and `check_database` reports why."""
        try:
            async with asyncio.timeout(STATS_TIMEOUT_SECONDS), self._engine.connect() as conn:
                stats = await read_stats(conn)
        except DATABASE_ERRORS as error:
            log.debug("stats_not_read", cause=classify(error).cause)
        else:
            self._stats = stats, self._clock()


def _detail(error: BaseException) -> str:
    """Return the line of an error that says what each host answered or what to change, else the short cause."""
    return str(error) if isinstance(error, DatabaseUnusable | NoUsableHost) else classify(error).cause
