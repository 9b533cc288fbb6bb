"""What the dashboard shows of the whole service, read on an interval and kept for an hour: asking costs nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.db.errors import DATABASE_ERRORS, classify
from els_stream.events.topics import CONTENT_PROVISIONED
from els_stream.queries.dashboard import DashboardSnapshot, StoredOffsetAge, read_glance
from els_stream.queries.stats import Stats

STEP_SECONDS: Final = 5.0
STEPS: Final = 720
READ_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Sample:
    """None where nothing is known: the database was away, or nothing completed."""

    intake_per_second: float | None = None
    completion_seconds: float | None = None
    outbox_oldest_seconds: float | None = None


class StatsHistory:
    """`figures` are asked for at each look. Between `start` and `stop`; one connection at a time, briefly."""

    def __init__(
        self,
        engine: AsyncEngine,
        consumer_group: str,
        figures: Callable[[], tuple[Stats, float] | None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._engine = engine
        self._group = consumer_group
        self._figures = figures
        self._clock = clock
        self._at = 0.0
        self._task: asyncio.Task[None] | None = None
        self.last: DashboardSnapshot | None = None
        self.trouble: str | None = None
        self.steps: deque[Sample] = deque(maxlen=STEPS)

    @property
    def age_seconds(self) -> float | None:
        return None if self.last is None else self._clock() - self._at

    async def start(self) -> None:
        self._task = asyncio.create_task(self._keep_looking(), name="glances")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> None:
        before = self.last
        try:
            async with asyncio.timeout(READ_SECONDS), self._engine.connect() as conn:
                glance = await read_glance(conn, self._group, None if before is None else before.read_at)
        except DATABASE_ERRORS as error:
            self.trouble = classify(error).cause
            self.steps.append(Sample())
            return
        self.last, self._at, self.trouble = glance, self._clock(), None
        if before is not None:
            known = self._figures()
            self.steps.append(step(before, glance, None if known is None else known[0].outbox_oldest_seconds))

    async def _keep_looking(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(STEP_SECONDS)


def step(before: DashboardSnapshot, now: DashboardSnapshot, outbox_oldest_seconds: float | None) -> Sample:
    seconds = (now.read_at - before.read_at).total_seconds()
    handled = _handled(before.ledger, now.ledger)
    return Sample(handled / seconds if seconds > 0 else None, _completion(now, before.read_at), outbox_oldest_seconds)


def _handled(before: Sequence[StoredOffsetAge], now: Sequence[StoredOffsetAge]) -> int:
    """Records of all workers; a partition that is new, or began again, counts from the next time on."""
    stood = {(place.topic, place.partition): place.next_offset for place in before}
    return sum(
        max(0, place.next_offset - stood.get((place.topic, place.partition), place.next_offset)) for place in now
    )


def _completion(glance: DashboardSnapshot, since: datetime) -> float | None:
    """From the last content to completion, as the sender of that content sees it.

    The tables know the time from its commit on; how old contents are when they are handled, the ledger knows.
    """
    if glance.waited_seconds is None:
        return None
    delays = [
        place.delay_seconds
        for place in glance.ledger
        if place.topic.endswith(CONTENT_PROVISIONED) and place.updated_at > since and place.delay_seconds is not None
    ]
    return glance.waited_seconds + max(delays, default=0.0)
