"""The buffers of the partitions that are assigned to this worker, which the fetcher fills and the agents empty.

All partitions are closed on revoke, assign, stop_flow and stop; only the stored offsets survive a rebalance. Everything
here runs in one event loop, without locks.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from els_stream.config.settings import Settings
from els_stream.consumer.micro_batch import KeysInFlight, MicroBatch, take_records
from els_stream.consumer.partition_state import FetchPause, PartitionState
from els_stream.kafka.offsets import Partition

NO_OFFSET: Final = -1  # of a partition that was paused before its start offset was found


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """The most that is buffered of one partition; one fetch may exceed it by what it returns at once."""

    records: int
    bytes: int

    @classmethod
    def from_settings(cls, settings: Settings) -> BufferLimits:
        return cls(settings.buffered_records_per_partition, settings.buffered_bytes_per_partition)


@dataclass(frozen=True, slots=True)
class PausedPartition:
    """The partition is neither fetched nor taken until `until`; `times` in a row without a commit in between."""

    offset: int
    until: float
    times: int
    cause: str


class PartitionBuffers:
    def __init__(self, limits: BufferLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self.partitions: dict[Partition, PartitionState] = {}
        self.paused: dict[Partition, PausedPartition] = {}
        self.epoch = 0
        self.assignment_ready = False
        self.stopping = False
        self.in_flight: set[asyncio.Task[None]] = set()
        self.last_commit_at = clock()
        self._changed = asyncio.Event()
        self._closed = asyncio.Event()
        self._queued: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._turns: Counter[str] = Counter()

    # Used by the fetcher.

    def unpositioned(self, assignment: AbstractSet[Partition]) -> set[Partition]:
        """Return the assigned partitions whose start offset is not known yet, without paused ones."""
        now = self._clock()
        return {
            tp
            for tp in assignment
            if tp not in self.partitions and (tp not in self.paused or self.paused[tp].until <= now)
        }

    def partitions_with_capacity(self) -> set[Partition]:
        limits = self._limits
        return {
            tp
            for tp, state in self.partitions.items()
            if len(state.queue) < limits.records and state.queued_bytes < limits.bytes
        }

    def fetch_paused(self, partition: Partition) -> bool:
        pause = self.partitions[partition].fetch_pause
        return pause is not None and pause.until > self._clock()

    def pause_fetch(self, state: PartitionState, cause: str, delay: Callable[[int], float]) -> float:
        """Leave the partition out of the next fetches, for `delay(failures in a row)`; return these seconds.

        What is queued stays and is processed. The first failure causes no pause.
        """
        before = state.fetch_pause
        times = before.times + 1 if before is not None and before.offset == state.start else 1
        seconds = delay(times - 1) if times > 1 else 0.0
        state.fetch_pause = FetchPause(state.start, cause, times, self._clock() + seconds)
        return seconds

    def pause_unpositioned(self, partition: Partition, cause: str, delay: Callable[[int], float]) -> float:
        """Try again after a pause to find the start offset; return the pause in seconds."""
        before = self.paused.get(partition)
        times = 1 if before is None else before.times + 1
        seconds = delay(times)
        self.paused[partition] = PausedPartition(NO_OFFSET, self._clock() + seconds, times, cause)
        return seconds

    def add(self, states: Collection[PartitionState]) -> None:
        for state in states:
            self.partitions[state.partition] = state
            paused = self.paused.get(state.partition)
            if paused is not None and state.committed_offset != paused.offset:  # another owner got past it
                del self.paused[state.partition]

    def notify(self, topic: str) -> None:
        """Wake the agent of this topic: records are queued, or others of their keys are no longer in flight."""
        self._queued[topic].set()

    async def wait_for_change(self, seconds: float) -> None:
        """Wait until the fetcher may have something to do, at most `seconds`."""
        self._changed.clear()
        await _wait(self._changed, seconds)

    async def wait_unless_closed(self, seconds: float) -> None:
        """Wait for `seconds`, or until all partitions are closed."""
        await _wait(self._closed, seconds)

    # The life of a partition.

    def restart_partition(self, state: PartitionState) -> None:
        """Close the partition; the fetcher finds its start offset again. For when the stored offset or log changed."""
        state.close()
        if self.partitions.get(state.partition) is state:
            del self.partitions[state.partition]
        self._changed.set()

    def pause_partition(self, state: PartitionState, cause: str, delay: Callable[[int], float]) -> float:
        """Close the partition and restart it after a pause; return the pause in seconds.

        `delay` is called with the number of pauses in a row.
        """
        if self.partitions.get(state.partition) is not state:
            return 0.0
        before = self.paused.get(state.partition)
        times = 1 if before is None else before.times + 1
        seconds = delay(times)
        self.paused[state.partition] = PausedPartition(state.committed_offset, self._clock() + seconds, times, cause)
        self.restart_partition(state)
        return seconds

    def mark_committed(self, batch: MicroBatch) -> None:
        """Record that the transaction of these records is committed."""
        self.last_commit_at = self._clock()
        for piece in batch:
            piece.state.committed_offset = max(piece.state.committed_offset, piece.stop)
            if piece.state.undecodable:
                piece.state.undecodable -= {record.offset for record in piece.records}
            if piece.state.active:
                self.paused.pop(piece.state.partition, None)

    def close_all(self) -> None:
        """Close every partition, for a rebalance or stop. Transactions in flight go on until they commit or fail."""
        self.epoch += 1
        self._closed.set()
        self._closed = asyncio.Event()
        for state in self.partitions.values():
            state.close()
        self._changed.set()
        for event in self._queued.values():
            event.set()

    def remove_all(self) -> None:
        """Remove the closed partitions, and the pauses: another worker may own these partitions now."""
        self.partitions.clear()
        self.paused.clear()

    async def quiesce(self, grace: float) -> None:
        """Close every partition and wait, at most `grace` seconds, for the transactions in flight."""
        self.assignment_ready = False
        self.close_all()
        if self.in_flight:
            await asyncio.wait(set(self.in_flight), timeout=grace)

    def stop(self) -> None:
        self.stopping = True
        self.assignment_ready = False
        self.close_all()

    def mark_assignment_ready(self) -> None:
        """The rebalance is over: start offsets can be read."""
        self.assignment_ready = True
        self._changed.set()

    def cancel_in_flight(self) -> None:
        """Cancel the transactions that are still open after `quiesce`; their records are read again later."""
        for task in self.in_flight:
            task.cancel()

    # Offsets of the consumer group.

    def offsets_to_report(self) -> dict[Partition, int]:
        """Return the committed offsets that were not reported to the group yet."""
        return {
            tp: state.committed_offset
            for tp, state in self.partitions.items()
            if state.committed_offset != state.reported_offset
        }

    def mark_reported(self, offsets: Mapping[Partition, int]) -> None:
        for tp, offset in offsets.items():
            if tp in self.partitions:
                self.partitions[tp].reported_offset = offset

    # Used by the agents.

    def queued(self, topic: str, max_records: int, max_bytes: int) -> float:
        """Return how many micro-batches of this size the queued records of the topic fill."""
        states = [state for tp, state in self.partitions.items() if tp.topic == topic]
        records, size = sum(len(state.queue) for state in states), sum(state.queued_bytes for state in states)
        return max(records / max_records, size / max_bytes)

    async def take(
        self, topic: str, max_records: int, max_bytes: int, in_flight: Collection[KeysInFlight] = ()
    ) -> MicroBatch:
        """Take queued records, each time beginning with another partition; wait while there are none.

        `in_flight` changes while this waits; `notify` says so. Empty only when the worker stops.
        """
        while True:
            batch = self._take_queued(topic, max_records, max_bytes, in_flight)
            if batch or self.stopping:
                return batch
            event = self._queued[topic]
            event.clear()
            await event.wait()

    def _take_queued(
        self, topic: str, max_records: int, max_bytes: int, in_flight: Collection[KeysInFlight]
    ) -> MicroBatch:
        states = [state for tp, state in sorted(self.partitions.items()) if tp.topic == topic and state.active]
        if not states:
            return ()
        turn = self._turns[topic] % len(states)
        self._turns[topic] += 1
        batch = take_records(states[turn:] + states[:turn], max_records, max_bytes, in_flight)
        if batch:
            self._changed.set()
        return batch


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
