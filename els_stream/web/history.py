"""Throughput and delays of the last hour, read from the database at an interval: a request reads only memory."""

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
from els_stream.queries.dashboard import DashboardSnapshot, StoredOffsetAge, read_dashboard
from els_stream.queries.stats import Stats
from els_stream.tasks import run_every

INTERVAL_SECONDS: Final = 5.0
MAX_SAMPLES: Final = 720
READ_TIMEOUT_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One interval. A value is None if it is unknown: the database did not answer, or no batch completed."""

    records_per_second: float | None = None
    completion_seconds: float | None = None
    outbox_oldest_seconds: float | None = None


class StatsHistory:
    """Keeps the newest MAX_SAMPLES samples, and the last dashboard snapshot. Uses one connection, briefly."""

    def __init__(
        self,
        engine: AsyncEngine,
        consumer_group: str,
        stats: Callable[[], tuple[Stats, float] | None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`stats` returns the newest stats and their age in seconds."""
        self._engine = engine
        self._group = consumer_group
        self._stats = stats
        self._clock = clock
        self._read_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self.last: DashboardSnapshot | None = None
        self.error: str | None = None
        self.samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)

    @property
    def age_seconds(self) -> float | None:
        return None if self.last is None else self._clock() - self._read_at

    async def start(self) -> None:
        self._task = asyncio.create_task(run_every(INTERVAL_SECONDS, self.refresh), name="stats history")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def refresh(self) -> None:
        """Read a snapshot and append a sample. Sets `error` instead of raising if the database does not answer."""
        previous = self.last
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS), self._engine.connect() as conn:
                current = await read_dashboard(conn, self._group, None if previous is None else previous.read_at)
        except DATABASE_ERRORS as error:
            self.error = classify(error).cause
            self.samples.append(Sample())
            return
        self.last, self._read_at, self.error = current, self._clock(), None
        if previous is not None:
            stats = self._stats()
            self.samples.append(
                make_sample(previous, current, None if stats is None else stats[0].outbox_oldest_seconds)
            )


def make_sample(previous: DashboardSnapshot, current: DashboardSnapshot, outbox_oldest_seconds: float | None) -> Sample:
    """Return the sample of the interval between two snapshots."""
    seconds = (current.read_at - previous.read_at).total_seconds()
    records = _records_between(previous.offsets, current.offsets)
    return Sample(
        records_per_second=records / seconds if seconds > 0 else None,
        completion_seconds=_completion_seconds(current, previous.read_at),
        outbox_oldest_seconds=outbox_oldest_seconds,
    )


def _records_between(previous: Sequence[StoredOffsetAge], current: Sequence[StoredOffsetAge]) -> int:
    """Count the records of all workers. A new partition, or one whose offset went back, adds nothing this time."""
    offsets = {(stored.topic, stored.partition): stored.next_offset for stored in previous}
    return sum(
        max(0, stored.next_offset - offsets.get((stored.topic, stored.partition), stored.next_offset))
        for stored in current
    )


def _completion_seconds(snapshot: DashboardSnapshot, since: datetime) -> float | None:
    """Return the time from sending a batch's last content to its completion.

    The tables contain the time from the commit of the content to the completion; the stored offsets contain the age of
    its record at that commit.
    """
    if snapshot.waited_seconds is None:
        return None
    delays = [
        stored.delay_seconds
        for stored in snapshot.offsets
        if stored.topic.endswith(CONTENT_PROVISIONED) and stored.updated_at > since and stored.delay_seconds is not None
    ]
    return snapshot.waited_seconds + max(delays, default=0.0)
