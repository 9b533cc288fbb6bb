"""Fetches records into the buffers: finds start offsets, seeks and fetches. Nothing else sets client positions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol, assert_never

from els_stream.consumer.partition_buffers import PartitionBuffers
from els_stream.consumer.partition_state import (
    FetchedRecord,
    LogReplaced,
    PartitionState,
    PositionReset,
    Queued,
    RefetchGap,
)
from els_stream.consumer.reporting import ConsumerEvent, ConsumerMetrics
from els_stream.consumer.start_offsets import LogOffsets, StartOffsetFinder, StoredOffsets
from els_stream.kafka.offsets import Partition

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

    async def fetch(
        self, partitions: AbstractSet[Partition], seconds: float
    ) -> Mapping[Partition, Sequence[FetchedRecord]]: ...

    def position(self, partition: Partition) -> int | None:
        """Return the next offset to be fetched: past transaction markers and other offsets without a record."""

    async def keep_alive(self) -> None:
        """Show the client that this consumer is polling although it does not fetch."""


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


class Fetcher:
    def __init__(  # one value per collaborator
        self,
        buffers: PartitionBuffers,
        kafka: RecordLog,
        store: StoredOffsets,
        metrics: ConsumerMetrics,
        errors: tuple[type[Exception], ...],
        logical_topic: Callable[[str], str],
    ) -> None:
        """`errors`: what Kafka and the database raise while they are away; anything else is a bug and is raised."""
        self._buffers = buffers
        self._kafka = kafka
        self._metrics = metrics
        self._errors = errors
        self._logical_topic = logical_topic
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
        partitions = buffers.partitions_with_capacity()
        if partitions:
            none_full = len(partitions) == len(buffers.partitions)
            await self._fetch(partitions, FETCH_MAX_WAIT_SECONDS if none_full else FETCH_MAX_WAIT_WHILE_FULL_SECONDS)
        else:
            # Back-pressure. A fetch of no partition would be a fetch of all, and without polling the group evicts us.
            await buffers.wait_for_change(FULL_MAX_WAIT_SECONDS if buffers.partitions else FETCH_MAX_WAIT_SECONDS)
            await self._kafka.keep_alive()

    async def _position(self, partitions: AbstractSet[Partition]) -> None:
        epoch = self._buffers.epoch
        try:
            states = await self._start_offsets.find(partitions)
        except self._errors as error:
            self.health.position_error = type(error).__name__
            self._metrics.record_event(ConsumerEvent.POSITION_FAILED)
            log.warning("start offsets of %d partitions could not be read: %r", len(partitions), error)
            await asyncio.sleep(RETRY_DELAY_SECONDS)
            return
        self.health.position_error = None
        if epoch == self._buffers.epoch:
            self._buffers.add(states)

    async def _fetch(self, partitions: AbstractSet[Partition], seconds: float) -> None:
        epoch = self._buffers.epoch
        try:
            fetched = await self._kafka.fetch(partitions, seconds)
        except self._errors as error:
            self.health.record_fetch_error(type(error).__name__)
            self._metrics.record_event(ConsumerEvent.FETCH_FAILED)
            log.warning("fetch failed: %r", error)
            await asyncio.sleep(RETRY_DELAY_SECONDS)
            return
        if epoch != self._buffers.epoch:
            return
        for tp, records in fetched.items():
            state = self._buffers.partitions.get(Partition(*tp))
            if state is not None and records:
                await self._receive(state, records)
        for tp, state in self._buffers.partitions.items():
            state.position = self._kafka.position(tp)

    async def _receive(self, state: PartitionState, records: Sequence[FetchedRecord]) -> None:
        expected = state.next_fetch_offset
        partition = state.partition
        received = state.receive(records, self._logical_topic(partition.topic))
        match received:
            case Queued(skipped):
                if skipped:
                    log.error("%s: Kafka no longer has %d offsets from %d on", partition, skipped, expected)
                    self._metrics.record_event(ConsumerEvent.OFFSET_GAP_SKIPPED, skipped)
                self._buffers.notify(partition.topic)
            case RefetchGap(offset):
                self._metrics.record_event(ConsumerEvent.GAP_REFETCHED)
                await self._kafka.seek({partition: offset})
            case LogReplaced():
                self._start_offsets.report_replaced_log(partition, expected)
                self._buffers.restart_partition(state)
            case PositionReset():
                self._metrics.record_event(ConsumerEvent.POSITION_RESET)
                self._buffers.restart_partition(state)
            case _:
                assert_never(received)
