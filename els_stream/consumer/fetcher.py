"""Fetches records into the buffers. Each fetch begins where all before it is queued, whatever fetches before it did.

So a fetch that fails, or is given up, loses nothing. A partition that fails is read alone, which finds the records
before the bad one and its place, and is then paused, while the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol, assert_never

from els_stream.backoff import Backoff
from els_stream.consumer.partition_buffers import PartitionBuffers
from els_stream.consumer.partition_reads import Fetched
from els_stream.consumer.partition_state import LogReplaced, PartitionState, PositionReset, Queued
from els_stream.consumer.reporting import ConsumerEvent, ConsumerMetrics
from els_stream.consumer.start_offsets import (
    LogOffsets,
    LogState,
    PartitionUnavailable,
    StartOffsetFinder,
    StoredOffsets,
)
from els_stream.kafka.offsets import Partition
from els_stream.kafka.partition_read import ReadFailure

log = logging.getLogger(__name__)

# A fetch without records ends after this time, so that partitions with new capacity, or without a start offset, do not
# wait; sooner while some partition is full and may get capacity at any moment.
FETCH_MAX_WAIT_SECONDS = 0.25
FETCH_MAX_WAIT_WHILE_FULL_SECONDS = 0.02
REBALANCE_POLL_INTERVAL_SECONDS = 0.05
FULL_MAX_WAIT_SECONDS = 1.0
RETRY_DELAY_SECONDS = 0.2
# So many failed fetches, each within this time of the one before, make the worker unready.
FETCH_ERROR_WINDOW_SECONDS = 5.0
FETCH_ERROR_THRESHOLD = 3


class RecordLog(LogOffsets, Protocol):
    """Kafka, as far as the fetcher uses it."""

    def assignment(self) -> AbstractSet[Partition]: ...
    def is_active(self) -> bool:
        """Return false during a rebalance and while stopping."""

    async def fetch(self, starts: Mapping[Partition, int], seconds: float) -> Mapping[Partition, Fetched]:
        """Return what each partition has from its start on; a failure of one concerns no other."""
        ...

    async def fetch_alone(self, partition: Partition, start: int) -> Fetched:
        """Read one partition as far as it can be read: slowly, with the place of a bad record, never raising for it."""
        ...


class FetchHealth:
    """Why nothing can be fetched at present; readiness shows it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.position_error: str | None = None
        self._fetch_error = ""
        self._fetch_failures = 0
        self._fetch_failed_at = clock()

    def record_fetch_error(self, cause: str) -> None:
        """Count a failure. Fetches of other partitions may succeed in between, so only time ends an error."""
        self._fetch_failures = self._fetch_failures + 1 if self._failed_recently() else 1
        self._fetch_error, self._fetch_failed_at = cause, self._clock()

    @property
    def fetch_error(self) -> str | None:
        failing = self._failed_recently() and self._fetch_failures >= FETCH_ERROR_THRESHOLD
        return self._fetch_error if failing else None

    def _failed_recently(self) -> bool:
        return self._clock() - self._fetch_failed_at < FETCH_ERROR_WINDOW_SECONDS


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """`errors` is what Kafka and the database raise while they are away; anything else is a bug and is raised.

    `backoff` gives the pauses of partitions that can't be read.
    """

    backoff: Backoff
    errors: tuple[type[Exception], ...]
    logical_topic: Callable[[str], str]


class Fetcher:
    def __init__(
        self,
        buffers: PartitionBuffers,
        kafka: RecordLog,
        store: StoredOffsets,
        metrics: ConsumerMetrics,
        options: FetchOptions,
    ) -> None:
        self._buffers = buffers
        self._kafka = kafka
        self._metrics = metrics
        self._store = store
        self._pause = options.backoff.equal_jitter
        self._errors = options.errors
        self._logical_topic = options.logical_topic
        self._start_offsets = StartOffsetFinder(kafka, store, metrics)
        self.health = FetchHealth()

    async def step(self) -> None:
        """Do one round, which takes about a second at most. A result that crosses a rebalance is discarded."""
        buffers = self._buffers
        if not (buffers.assignment_ready and self._kafka.is_active()):
            await buffers.wait_for_change(REBALANCE_POLL_INTERVAL_SECONDS)
            return
        unpositioned = buffers.unpositioned(self._kafka.assignment())
        if unpositioned:
            await self._position(unpositioned)
        with_capacity = buffers.partitions_with_capacity()
        partitions = {tp for tp in with_capacity if not buffers.fetch_paused(tp)}
        if partitions:
            none_full = len(with_capacity) == len(buffers.partitions)
            await self._fetch(partitions, FETCH_MAX_WAIT_SECONDS if none_full else FETCH_MAX_WAIT_WHILE_FULL_SECONDS)
        else:
            full = buffers.partitions and not with_capacity  # else fetches are paused
            await buffers.wait_for_change(FULL_MAX_WAIT_SECONDS if full else FETCH_MAX_WAIT_SECONDS)

    async def _position(self, partitions: AbstractSet[Partition]) -> None:
        epoch = self._buffers.epoch
        try:
            positions = await self._start_offsets.find(partitions)
        except self._errors as error:
            self.health.position_error = type(error).__name__
            self._metrics.record_event(ConsumerEvent.POSITION_FAILED)
            log.warning("start offsets of %d partitions could not be read: %r", len(partitions), error)
            await asyncio.sleep(RETRY_DELAY_SECONDS)
            return
        self.health.position_error = None
        if epoch != self._buffers.epoch:
            return
        self._buffers.add(positions.found)
        for tp, cause in positions.unavailable.items():
            seconds = self._buffers.pause_unpositioned(tp, cause, self._pause)
            self._metrics.record_event(ConsumerEvent.POSITION_FAILED)
            log.warning("%s: the start offset can't be read, again in %.1f s: %s", tp, seconds, cause)

    async def _fetch(self, partitions: AbstractSet[Partition], seconds: float) -> None:
        epoch = self._buffers.epoch
        states = {tp: self._buffers.partitions[tp] for tp in partitions}
        try:
            await self._restart_moved(states.values())
            fetched = await self._read(states, seconds)
        except self._errors as error:
            self.health.record_fetch_error(type(error).__name__)
            self._metrics.record_event(ConsumerEvent.FETCH_FAILED)
            log.warning("fetch failed: %r", error)
            await asyncio.sleep(RETRY_DELAY_SECONDS)
            return
        if epoch != self._buffers.epoch:
            return
        for tp, result in fetched.items():
            if self._buffers.partitions.get(tp) is states[tp]:
                await self._receive(states[tp], result)

    async def _restart_moved(self, states: Collection[PartitionState]) -> None:
        """Restart paused partitions whose stored offset was moved meanwhile: an operator skipped what can't be read."""
        paused = {
            state.partition: state
            for state in states
            if state.fetch_pause is not None
            and state.fetch_pause.times > 1
            and state.committed_offset == state.next_fetch_offset
        }
        stored = await self._store.read(paused.keys()) if paused else {}
        for tp, offset in stored.items():
            if offset.next_offset != paused[tp].committed_offset:
                log.warning("%s: the stored offset was moved to %d", tp, offset.next_offset)
                self._metrics.record_event(ConsumerEvent.PARTITION_RESTARTED)
                self._buffers.restart_partition(paused[tp])

    async def _read(self, states: Mapping[Partition, PartitionState], seconds: float) -> dict[Partition, Fetched]:
        """Fetch the partitions together, and alone those whose last fetch failed."""
        together = {tp: state.start for tp, state in states.items() if state.fetch_pause is None}
        alone = [state for state in states.values() if state.fetch_pause is not None and state.active]
        fetched = dict(await self._kafka.fetch(together, seconds)) if together else {}
        for state in alone:
            fetched[state.partition] = await self._kafka.fetch_alone(state.partition, state.start)
        return fetched

    async def _receive(self, state: PartitionState, fetched: Fetched) -> None:
        partition = state.partition
        state.log_end_offset = max(state.log_end_offset, fetched.high_watermark)
        received = state.receive(fetched.records, self._logical_topic(partition.topic), fetched.position)
        match received:
            case Queued():
                if fetched.undecodable:
                    state.undecodable |= fetched.undecodable
                if fetched.records:
                    self._buffers.notify(partition.topic)
                await self._end_read(state, fetched.failure)
            case LogReplaced():
                self._start_offsets.report_replaced_log(partition, state.next_fetch_offset)
                self._buffers.restart_partition(state)
            case PositionReset():
                self._metrics.record_event(ConsumerEvent.POSITION_RESET)
                log.warning("%s: records before the position %d arrived", partition, state.start)
                self._buffers.restart_partition(state)
            case _:
                assert_never(received)

    async def _end_read(self, state: PartitionState, failure: ReadFailure | None) -> None:
        if failure is None:
            if state.fetch_pause is not None:
                log.info("%s: can be read again from offset %d", state.partition, state.fetch_pause.offset)
                state.fetch_pause = None
        elif failure.out_of_range:
            await self._leave_range(state)
        elif failure.damaged and state.give_up_verification():
            log.warning("%s: the last processed record can't be compared: %s", state.partition, failure.cause)
            state.fetch_pause = None
        else:
            self._pause_fetch(state, failure.cause)

    def _pause_fetch(self, state: PartitionState, cause: str) -> None:
        seconds = self._buffers.pause_fetch(state, cause, self._pause)
        if seconds:
            self._metrics.record_event(ConsumerEvent.PARTITION_PAUSED)
            log.error(
                "%s: nothing can be read at offset %d, fetches are paused for %.1f s: %s",
                state.partition,
                state.start,
                seconds,
                cause,
            )
        else:
            self._metrics.record_event(ConsumerEvent.FETCH_FAILED)
            log.warning("%s: fetch from offset %d failed, it is read alone: %s", state.partition, state.start, cause)

    async def _leave_range(self, state: PartitionState) -> None:
        """Go on where the log begins now, if it begins behind our position; else find the start offset again."""
        partition, start = state.partition, state.start
        try:
            log_state = (await self._kafka.log_states({partition}))[partition]
            if isinstance(log_state, LogState) and (lost := state.lost_before(log_state.beginning)):
                await self._store.record_lost(partition, log_state.beginning - lost, log_state.beginning - 1)
        except self._errors as error:
            self._pause_fetch(state, f"the log's beginning: {type(error).__name__}")
            return
        if not state.active or self._buffers.partitions.get(partition) is not state:
            return
        if isinstance(log_state, PartitionUnavailable):
            self._pause_fetch(state, log_state.cause)
        elif log_state.beginning > start:
            lost = state.skip_lost(log_state.beginning)
            state.fetch_pause = None
            if lost:
                log.error("%s: Kafka no longer has %d offsets from %d on", partition, lost, log_state.beginning - lost)
                self._metrics.record_event(ConsumerEvent.OFFSET_GAP_SKIPPED, lost)
        elif log_state.end < start:
            self._metrics.record_event(ConsumerEvent.POSITION_RESET)
            log.warning("%s: the log ends at %d, before the position %d", partition, log_state.end, start)
            self._buffers.restart_partition(state)
        else:
            self._pause_fetch(state, "OffsetOutOfRangeError")
