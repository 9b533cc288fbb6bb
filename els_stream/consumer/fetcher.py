"""The feeder: the only seeker. It positions what is assigned, fetches what has room, and queues it on the lane."""

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

# A fetch ends after this long without records, so that partitions with new room, or to be positioned, are not kept
# waiting: briefly while some partition is full and may get room at any moment.
FETCH_SECONDS = 0.25
FETCH_SECONDS_WHILE_FULL = 0.02
UNSETTLED_SECONDS = 0.05
FULL_SECONDS = 1.0
FAILED_SECONDS = 0.2
FETCH_TROUBLE_SECONDS = 5.0
FETCH_TROUBLE_FAILURES = 3


class RecordLog(LogOffsets, Protocol):
    """Kafka as the feeder sees it."""

    def assignment(self) -> AbstractSet[Partition]: ...
    def flowing(self) -> bool:
        """False during a rebalance and while stopping."""

    async def fetch(
        self, partitions: AbstractSet[Partition], seconds: float
    ) -> Mapping[Partition, Sequence[FetchedRecord]]: ...

    def position(self, partition: Partition) -> int | None:
        """The next offset that would be fetched, past markers and other offsets without a record."""

    async def touch(self) -> None:
        """Tells the client that this consumer lives although it does not fetch."""


class FetchHealth:
    """What keeps the feeder from working just now. Readiness asks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.positioning: str | None = None
        self._fetching = ""
        self._fetch_failures = 0
        self._fetch_failed_at = clock()

    def fetch_failed(self, cause: str) -> None:
        """Other partitions' fetches may succeed between: a failure counts until it stays away."""
        recent = self._clock() - self._fetch_failed_at < FETCH_TROUBLE_SECONDS
        self._fetch_failures = self._fetch_failures + 1 if recent else 1
        self._fetching, self._fetch_failed_at = cause, self._clock()

    @property
    def fetching(self) -> str | None:
        recent = self._clock() - self._fetch_failed_at < FETCH_TROUBLE_SECONDS
        return self._fetching if recent and self._fetch_failures >= FETCH_TROUBLE_FAILURES else None


class Fetcher:
    def __init__(  # one value per collaborator
        self,
        lane: PartitionBuffers,
        kafka: RecordLog,
        ledger: StoredOffsets,
        reports: ConsumerMetrics,
        errors: tuple[type[Exception], ...],
        logical: Callable[[str], str],
    ) -> None:
        """`errors` are what Kafka and the database raise while they are away; anything else is a bug and goes up."""
        self._lane = lane
        self._kafka = kafka
        self._reports = reports
        self._errors = errors
        self._logical = logical
        self._positioner = StartOffsetFinder(kafka, ledger, reports)
        self.trouble = FetchHealth()

    async def step(self) -> None:
        """One round; returns within about a second. A result that crosses an epoch change is thrown away."""
        lane = self._lane
        if not (lane.settled and self._kafka.flowing()):
            await lane.pause(UNSETTLED_SECONDS)
            return
        missing = lane.missing(self._kafka.assignment())
        if missing:
            await self._position(missing)
        room = lane.room()
        if room:
            await self._fetch(room, FETCH_SECONDS if len(room) == len(lane.parts) else FETCH_SECONDS_WHILE_FULL)
        elif lane.parts:
            # Back-pressure is not to fetch; to ask for no partition would mean all of them.
            await lane.pause(FULL_SECONDS)
            await self._kafka.touch()
        else:
            await lane.pause(FETCH_SECONDS)
            await self._kafka.touch()

    async def _position(self, missing: AbstractSet[Partition]) -> None:
        epoch = self._lane.epoch
        try:
            parts = await self._positioner.position(missing)
        except self._errors as error:
            self.trouble.positioning = type(error).__name__
            self._reports.record_event(ConsumerEvent.POSITION_FAILED)
            log.warning("positions of %d partitions could not be asked: %r", len(missing), error)
            await asyncio.sleep(FAILED_SECONDS)
            return
        self.trouble.positioning = None
        if epoch == self._lane.epoch:
            self._lane.join(parts)

    async def _fetch(self, room: AbstractSet[Partition], seconds: float) -> None:
        epoch = self._lane.epoch
        try:
            fetched = await self._kafka.fetch(room, seconds)
        except self._errors as error:
            self.trouble.fetch_failed(type(error).__name__)
            self._reports.record_event(ConsumerEvent.FETCH_FAILED)
            log.warning("fetch failed: %r", error)
            await asyncio.sleep(FAILED_SECONDS)
            return
        if epoch != self._lane.epoch:
            return
        for tp, records in fetched.items():
            part = self._lane.parts.get(Partition(*tp))
            if part is not None and records:
                await self._receive(part, records)
        for tp, part in self._lane.parts.items():
            part.fetched_to = self._kafka.position(tp)

    async def _receive(self, part: PartitionState, records: Sequence[FetchedRecord]) -> None:
        expected = part.expected
        received = part.receive(records, self._logical(part.partition.topic))
        match received:
            case Queued(skipped):
                if skipped:
                    log.error("%s: Kafka no longer has %d offsets from %d on", part.partition, skipped, expected)
                    self._reports.record_event(ConsumerEvent.OFFSET_GAP_SKIPPED, skipped)
                self._lane.arrived(part.partition.topic)
            case RefetchGap(offset):
                self._reports.record_event(ConsumerEvent.GAP_REFETCHED)
                await self._kafka.seek({part.partition: offset})
            case LogReplaced():
                self._positioner.suspect(part.partition, expected)
                self._lane.drop(part)
            case PositionReset():
                self._reports.record_event(ConsumerEvent.POSITION_RESET)
                self._lane.drop(part)
            case _:
                assert_never(received)
