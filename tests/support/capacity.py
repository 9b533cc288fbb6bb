"""Measures how fast the workers handle a backlog, and how much CPU each record takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from els_stream.demo.messages import Message
from tests.benchmarks.cpu import read_clock
from tests.support.demo_environment import DemoEnvironment
from tests.support.demo_queries import WAITING

# Shorter than the session time-out of the workers: the group must keep them while they are stopped.
STOPPED_SECONDS: Final = 1.6
LARGEST_BACKLOG: Final = 8_000
# Of all records: how many a backlog has at most.
SHARE: Final = 0.04

Backlogs = list[Sequence[Message]]
Processes = Callable[[], Mapping[str, Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Drain:
    """A backlog that was handled; `cpu` is in seconds, by kind of process."""

    records: int
    seconds: float
    cpu: Mapping[str, float]

    @property
    def rate(self) -> float:
        return self.records / self.seconds

    @property
    def cpu_each(self) -> float:
        """CPU of all processes per record, in microseconds."""
        return sum(self.cpu.values()) / self.records * 1e6


def backlogs(messages: Sequence[Message], count: int) -> tuple[Backlogs, Sequence[Message], Backlogs]:
    """Return so many backlogs of equal size from each end, and the records in between."""
    size = min(LARGEST_BACKLOG, math.ceil(len(messages) * SHARE))
    ends = (range(0, count * size, size), range(len(messages) - count * size, len(messages), size))
    first, last = ([messages[start : start + size] for start in starts] for starts in ends)
    return first, messages[count * size : len(messages) - count * size], last


class Capacity:
    """Backlogs of the same size, handled by the same number of workers with nothing else to do.

    `processes` returns the servers' root processes by name.
    """

    def __init__(self, env: DemoEnvironment, processes: Processes) -> None:
        self._env = env
        self._processes = processes

    async def measure(self, parts: Backlogs, partitions: int) -> list[Drain]:
        """Handle the backlogs one after the other; the first one warms the workers up and is not returned."""
        if not parts:
            return []
        await self._env.until_members(len(self._env.pool.workers))
        _, *found = [await self._drain(messages, partitions) for messages in parts]
        return [drain for drain in found if drain is not None]

    async def _drain(self, messages: Sequence[Message], partitions: int) -> Drain | None:
        """Send all while the workers are stopped, then let them run; None if the group may have removed them."""
        env, pool = self._env, self._env.pool
        await env.until_all_handled()
        processes = {"workers": [each.pid for each in (*pool.workers, *pool.relays)], **self._processes()}
        target = await env.position() + len(messages)
        stopped = time.monotonic()
        for worker in (*pool.workers, *pool.relays):
            pool.freeze(worker)
        try:
            await env.send(messages, partitions)
        finally:
            for worker in (*pool.workers, *pool.relays):
                pool.wake(worker)
        began, before = time.monotonic(), read_clock(processes)

        async def handled() -> bool:
            return await env.position() >= target and not await env.ask(WAITING)

        await env.until(handled)
        drain = Drain(len(messages), time.monotonic() - began, read_clock(processes).since(before))
        return drain if began - stopped < STOPPED_SECONDS else None


def rate(drains: Sequence[Drain]) -> float:
    """Return the median rate; 0 without any."""
    return median(drain.rate for drain in drains) if drains else 0.0


def cpu_each(drains: Sequence[Drain]) -> float:
    """Return the median CPU per record in microseconds; 0 without any."""
    return median(drain.cpu_each for drain in drains) if drains else 0.0
