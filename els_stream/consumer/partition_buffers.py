"""The lane: the parts of this worker's assignment, and what agents take from them.

Everything dies on revoke, assign, stop_flow and stop; nothing survives a rebalance but the ledger. One loop, no locks.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from els_stream.consumer.partition_state import MicroBatch, PartitionState, take
from els_stream.kafka.offsets import Partition


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """What may wait, for each partition; a fetch may overshoot by what it brings at once."""

    records: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PausedPartition:
    """Until then the partition is neither fetched nor taken; `times` in a row without anything handled between."""

    offset: int
    until: float
    times: int
    cause: str


class PartitionBuffers:
    def __init__(self, limits: BufferLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self.parts: dict[Partition, PartitionState] = {}
        self.holds: dict[Partition, PausedPartition] = {}
        self.epoch = 0
        self.settled = self.joined = False
        self.stopping = False
        self.wake = asyncio.Event()
        self.in_flight: set[asyncio.Task[None]] = set()
        self.progress_at = clock()
        self._cleared = asyncio.Event()
        self._queued: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._turns: Counter[str] = Counter()

    # What the feeder does.

    def missing(self, assignment: AbstractSet[Partition]) -> set[Partition]:
        """Assigned, not positioned yet, and not held."""
        now = self._clock()
        return {
            tp for tp in assignment if tp not in self.parts and (tp not in self.holds or self.holds[tp].until <= now)
        }

    def room(self) -> set[Partition]:
        limits = self._limits
        return {
            tp
            for tp, part in self.parts.items()
            if len(part.queue) < limits.records and part.queued_bytes < limits.bytes
        }

    def join(self, parts: Collection[PartitionState]) -> None:
        for part in parts:
            self.parts[part.partition] = part
            held = self.holds.get(part.partition)
            if held is not None and part.done != held.offset:  # somebody else got past it
                del self.holds[part.partition]

    def arrived(self, topic: str) -> None:
        """Records of this topic lie in the queues."""
        self._queued[topic].set()

    async def pause(self, seconds: float) -> None:
        """Until something changed that the feeder should look at, or the time is over."""
        self.wake.clear()
        await _wait(self.wake, seconds)

    async def interruptible(self, seconds: float) -> None:
        """A pause that ends early when all parts die."""
        await _wait(self._cleared, seconds)

    # What happens to parts.

    def drop(self, part: PartitionState) -> None:
        """The ledger or the log moved under this part, or nobody knows: it is positioned anew."""
        part.kill()
        if self.parts.get(part.partition) is part:
            del self.parts[part.partition]
        self.wake.set()

    def hold(self, part: PartitionState, cause: str, delay: Callable[[int], float]) -> float:
        """As `drop`, but not before a pause; `delay` is asked with the number of holds in a row. Returns the pause."""
        if self.parts.get(part.partition) is not part:
            return 0.0
        before = self.holds.get(part.partition)
        times = 1 if before is None else before.times + 1
        seconds = delay(times)
        self.holds[part.partition] = PausedPartition(part.done, self._clock() + seconds, times, cause)
        self.drop(part)
        return seconds

    def handled(self, batch: MicroBatch) -> None:
        """The transaction over these runs is committed."""
        self.progress_at = self._clock()
        for run in batch:
            run.part.done = max(run.part.done, run.hi)
            if run.part.live:
                self.holds.pop(run.part.partition, None)

    def clear(self) -> None:
        """Ends every part at once: rebalance or stop. What is in flight goes on until it is asked or committed."""
        self.epoch += 1
        self._cleared.set()
        self._cleared = asyncio.Event()
        for part in self.parts.values():
            part.kill()
        self.wake.set()
        for event in self._queued.values():
            event.set()

    def forget(self) -> None:
        """After `clear`: also what the group's offsets were taken from, and the holds, which others may own now."""
        self.parts.clear()
        self.holds.clear()

    async def quiesce(self, grace: float) -> None:
        """Ends every part and waits, at most `grace` seconds, for the transactions in flight."""
        self.settled = False
        self.clear()
        if self.in_flight:
            await asyncio.wait(set(self.in_flight), timeout=grace)

    def stop(self) -> None:
        self.stopping = True
        self.settled = False
        self.clear()

    def settle(self) -> None:
        """The rebalance is over: positions may be asked for."""
        self.settled = self.joined = True
        self.wake.set()

    def cancel_in_flight(self) -> None:
        """After the grace: what is still open is rolled back, and read again by whoever comes next."""
        for task in self.in_flight:
            task.cancel()

    # What the group is told.

    def unsent(self) -> dict[Partition, int]:
        return {tp: part.done for tp, part in self.parts.items() if part.done != part.sent}

    def sent(self, offsets: Mapping[Partition, int]) -> None:
        for tp, offset in offsets.items():
            if tp in self.parts:
                self.parts[tp].sent = offset

    # What agents do.

    async def take(self, topic: str, max_records: int, max_bytes: int) -> MicroBatch:
        """What is there, in turns over the partitions; waits only while nothing is. Empty only when stopping."""
        while True:
            batch = self._take(topic, max_records, max_bytes)
            if batch or self.stopping:
                return batch
            event = self._queued[topic]
            event.clear()
            await event.wait()

    def _take(self, topic: str, max_records: int, max_bytes: int) -> MicroBatch:
        parts = [part for tp, part in sorted(self.parts.items()) if tp.topic == topic and part.live]
        if not parts:
            return ()
        turn = self._turns[topic] % len(parts)
        self._turns[topic] += 1
        batch = take(parts[turn:] + parts[:turn], max_records, max_bytes)
        if batch:
            self.wake.set()
        return batch


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
