"""The number of handled records over the time of a chaos run, the faults in it, and what follows from both."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import asyncpg

from tests.support.demo_queries import HANDLED
from tests.support.servers_away import CONNECTION_ERRORS

SAMPLE_INTERVAL_SECONDS: Final = 0.1
QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Moment:
    """A fault: seconds of the run at which it began, and at which the process or server was back."""

    fault: str
    began: float
    ended: float


@dataclass(slots=True)
class Progress:
    """Samples are (seconds of the run, records handled so far); `sampled` adds them from the database."""

    samples: list[tuple[float, int]] = field(default_factory=list)
    faults: list[Moment] = field(default_factory=list)
    recovery_seconds: dict[str, list[float]] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    @property
    def now(self) -> float:
        return time.monotonic() - self._started

    @contextlib.asynccontextmanager
    async def sampled(self, database: str, deleted: Callable[[], int]) -> AsyncIterator[None]:
        """Add a sample each SAMPLE_INTERVAL_SECONDS during the block, also while the database comes and goes.

        `deleted` returns how many records were handled in topics that are no more.
        """
        task = asyncio.create_task(self._sample(database, deleted))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @contextlib.contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """Record the block as a fault."""
        began = self.now
        yield
        self.faults.append(Moment(name, began, self.now))

    def recovered(self) -> None:
        """Record that more was handled, now, after the last fault."""
        last = self.faults[-1]
        self.recovery_seconds.setdefault(last.fault, []).append(self.now - last.ended)

    def recoveries(self) -> dict[str, list[float]]:
        """Return by fault the seconds from its end until more was handled, sorted; only those that were waited for."""
        return {fault: sorted(seconds) for fault, seconds in self.recovery_seconds.items()}

    def rates(self, seconds: float) -> list[tuple[float, float]]:
        """Return (seconds of the run, records per second) for intervals of this length."""
        picked: list[tuple[float, int]] = []
        for sample in self.samples:
            if not picked or sample[0] - picked[-1][0] >= seconds:
                picked.append(sample)
        return [(after[0], (after[1] - before[1]) / (after[0] - before[0])) for before, after in pairwise(picked)]

    async def _sample(self, database: str, deleted: Callable[[], int]) -> None:
        conn: asyncpg.Connection | None = None
        try:
            while True:
                try:
                    conn = conn or await asyncpg.connect(database, timeout=2)
                    handled = int(await conn.fetchval(HANDLED, timeout=2)) + deleted()
                    self.samples.append((self.now, handled))
                except CONNECTION_ERRORS:
                    if conn is not None:
                        conn.terminate()
                    conn = None
                await asyncio.sleep(SAMPLE_INTERVAL_SECONDS)
        finally:
            if conn is not None:
                conn.terminate()


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and max of sorted values, by nearest rank; empty without values."""
    if not values:
        return {}
    return {name: values[max(0, math.ceil(q * len(values)) - 1)] for name, q in QUANTILES.items()}
