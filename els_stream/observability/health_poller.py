"""Looks at the servers on an interval, so that a probe is answered at once, and from knowledge that says its age."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from time import monotonic
from typing import Final, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.db import schema
from els_stream.db.errors import DATABASE_ERRORS, classify
from els_stream.db.schema import Outdated
from els_stream.kafka.consumer_group import Ownership, Unreachable
from els_stream.observability.health import Code, Reason, group_reasons
from els_stream.observability.metrics import Metrics
from els_stream.queries.stats import Stats, read_figures

LOOK_EVERY_SECONDS: Final = 1.0
DATABASE_SECONDS: Final = 3.0
FIGURES_SECONDS: Final = 10.0
STALE_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


class GroupView(Protocol):
    async def describe(self) -> Ownership | Unreachable: ...
    async def close(self) -> None: ...


class CachedCheck:
    """The last answer to one question."""

    def __init__(self, about: Code, clock: Callable[[], float]) -> None:
        self._about = about
        self._clock = clock
        self._at: float | None = None
        self._found: Collection[Reason] = ()

    def found(self, reasons: Collection[Reason]) -> None:
        if {r.code for r in reasons} != {r.code for r in self._found}:
            log.info("readiness changed", reasons=[f"{r.code}: {r.detail}" for r in reasons])
        self._at, self._found = self._clock(), reasons

    def reasons(self) -> Collection[Reason]:
        """An answer that is too old is none: whoever should have asked again is stuck."""
        if self._at is None:
            return [Reason(Code.UNKNOWN, f"{self._about}?")]
        age = self._clock() - self._at
        return self._found if age < STALE_SECONDS else [Reason(self._about, f"not looked at for {age:.0f} s")]


class HealthPoller:
    """Between `start` and `stop`. One connection of the engine's pool at a time, briefly."""

    def __init__(
        self,
        engine: AsyncEngine,
        group: GroupView,
        metrics: Metrics,
        *,
        figures_seconds: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._engine = engine
        self._group = group
        self._metrics = metrics
        self._clock = clock
        self._figures_seconds = figures_seconds
        self._figures: tuple[Stats, float] | None = None
        self._database = CachedCheck(Code.DATABASE, clock)
        self._broker = CachedCheck(Code.BROKER, clock)
        self._tasks: list[asyncio.Task[None]] = []

    def reasons(self) -> list[Reason]:
        return [*self._database.reasons(), *self._broker.reasons()]

    def figures(self) -> tuple[Stats, float] | None:
        """The last that were read, and their age in seconds."""
        if self._figures is None:
            return None
        figures, read_at = self._figures
        return figures, self._clock() - read_at

    async def start(self) -> None:
        """Returns at once, whatever is away."""
        self._tasks = [
            asyncio.create_task(_every(LOOK_EVERY_SECONDS, self.look_at_database), name="watch database"),
            asyncio.create_task(_every(LOOK_EVERY_SECONDS, self.look_at_group), name="watch group"),
            asyncio.create_task(_every(self._figures_seconds, self.read_figures), name="watch figures"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._group.close()

    async def look_at_database(self) -> None:
        try:
            async with asyncio.timeout(DATABASE_SECONDS), self._engine.connect() as conn:
                state = await schema.check(conn)
        except DATABASE_ERRORS as error:
            self._database.found([Reason(Code.DATABASE, classify(error).cause)])
        else:
            self._database.found(
                [Reason(Code.SCHEMA, f"at {state.have}, this code needs {state.need}: run `els migrate`")]
                if isinstance(state, Outdated)
                else ()
            )

    async def look_at_group(self) -> None:
        self._broker.found(group_reasons(await self._group.describe()))

    async def read_figures(self) -> None:
        """When it fails, the figures grow old visibly, and `look_at_database` tells why."""
        try:
            async with asyncio.timeout(FIGURES_SECONDS), self._engine.connect() as conn:
                figures = await read_figures(conn)
        except DATABASE_ERRORS as error:
            log.debug("figures could not be read", cause=classify(error).cause)
        else:
            self._metrics.figures(figures)
            self._figures = figures, self._clock()


async def _every(seconds: float, look: Callable[[], Awaitable[None]]) -> None:
    while True:
        await look()
        await asyncio.sleep(seconds)
