"""The lag and the watermark. Deadlines are judged by the watermark, so it must not overlook a record on its way."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from unittest.mock import ANY
from uuid import UUID

import pytest

from els_stream.consumer.batch_outcome import RetryingAgents
from els_stream.consumer.end_offsets import EndOffsets
from els_stream.consumer.fetcher import Fetcher, FetchHealth
from els_stream.consumer.group_watch import GroupHealth
from els_stream.consumer.open_transactions import OpenTransactions, describe
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.partition_state import PartitionState
from els_stream.consumer.reporting import NullMetrics
from els_stream.consumer.status import ConsumerStatus
from els_stream.kafka.offsets import Partition, Watermark
from tests.support.consumer_fakes import FETCH_OPTIONS, FakeLog, FakeOffsetStore, fake_records, partition_at

ONE = Partition("alpha", 0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakeEnds:
    """A log that ends at `end` and can be read to `readable`, by default whole; the client has fetched nothing."""

    end: int
    readable: int | None = None
    topic_id: UUID | None = None

    async def end_offsets(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]:
        return dict.fromkeys(partitions, self.end if self.readable is None else self.readable)

    async def topic_ids(self, topics: AbstractSet[str]) -> Mapping[str, UUID]:
        return dict.fromkeys(topics, self.topic_id) if self.topic_id else {}

    async def high_watermarks(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]:
        return dict.fromkeys(partitions, self.end)


@dataclass
class FakeWatermarks:
    available: bool = True
    now: datetime = NOW
    stored: dict[Partition, Watermark] = field(default_factory=dict)

    async def database_time(self) -> datetime:
        if not self.available:
            raise ConnectionRefusedError
        return self.now

    async def store_watermarks(self, watermarks: Mapping[Partition, Watermark]) -> None:
        self.stored.update(watermarks)


class WatermarkHarness:
    """One partition, which is fetched and processed as the tests say."""

    def __init__(self) -> None:
        self.buffers = PartitionBuffers(BufferLimits(100, 1_000_000))
        self.log = FakeLog()
        self.state: PartitionState = partition_at()
        self.buffers.add([self.state])
        self.buffers.mark_assignment_ready()
        self.fetcher = Fetcher(self.buffers, self.log, FakeOffsetStore(), NullMetrics(), FETCH_OPTIONS)

    async def fetch(self, *, position: int, records: int = 0) -> None:
        """Fetch so many records, which leaves the client at this position."""
        self.log.positions[ONE] = position
        if records:
            self.log.records[ONE] = fake_records(self.state.next_fetch_offset, records)
        await self.fetcher.step()

    async def process_all(self) -> None:
        batch = await self.buffers.take("alpha", 1000, 1_000_000)
        self.buffers.mark_committed(batch)

    async def watermark(self, ends: FakeEnds, *, at: datetime = NOW, here: datetime | None = None) -> Watermark | None:
        """Return the watermark that a refresh stores, with this time of the database and of this host."""
        watermarks = FakeWatermarks(now=at)
        await EndOffsets(self.buffers, ends, watermarks, clock=lambda: here or at).refresh()
        return watermarks.stored.get(ONE)


@pytest.fixture
async def harness() -> WatermarkHarness:
    return WatermarkHarness()


async def test_a_partition_processed_to_its_end_has_a_watermark(harness: WatermarkHarness) -> None:
    await harness.fetch(position=3, records=3)
    await harness.process_all()

    assert await harness.watermark(FakeEnds(3)) == Watermark(3, NOW, 3)


async def test_an_empty_partition_has_a_watermark_after_its_first_fetch(harness: WatermarkHarness) -> None:
    assert await harness.watermark(FakeEnds(0)) is None
    await harness.fetch(position=0)
    assert await harness.watermark(FakeEnds(0)) == Watermark(0, NOW, 0)


async def test_transaction_markers_after_the_last_record_move_only_how_far_it_was_read(
    harness: WatermarkHarness,
) -> None:
    await harness.fetch(position=3, records=3)
    await harness.process_all()
    await harness.fetch(position=5)

    assert await harness.watermark(FakeEnds(5)) == Watermark(3, NOW, 5)


async def test_a_partition_with_unfetched_records_has_no_watermark(harness: WatermarkHarness) -> None:
    await harness.fetch(position=3, records=3)
    await harness.process_all()

    assert await harness.watermark(FakeEnds(4)) is None


async def test_records_of_an_open_transaction_hold_the_watermark(harness: WatermarkHarness) -> None:
    await harness.fetch(position=3, records=3)
    await harness.process_all()

    assert await harness.watermark(FakeEnds(8, readable=3)) is None
    assert (harness.state.log_end_offset, harness.state.open_transaction) == (3, ANY)
    await harness.fetch(position=8, records=4)
    await harness.process_all()
    later = NOW + timedelta(minutes=1)
    assert await harness.watermark(FakeEnds(8), at=later) == Watermark(7, later, 8)
    assert harness.state.open_transaction is None


async def test_a_partition_of_a_recreated_topic_is_positioned_again(harness: WatermarkHarness) -> None:
    harness.state.topic_id = UUID(int=1)
    await harness.fetch(position=0)
    assert await harness.watermark(FakeEnds(0, topic_id=UUID(int=1))) == Watermark(0, NOW, 0)

    assert await harness.watermark(FakeEnds(0, topic_id=UUID(int=2))) is None
    assert harness.buffers.partitions == {}


def test_only_a_transaction_that_stays_open_is_named() -> None:
    now = 0.0
    transactions, state = OpenTransactions(clock=lambda: now), partition_at()
    described = []
    for now, end in ((1.0, 5), (20.0, 9), (21.0, 9), (22.0, 0)):
        transactions.update(state, end)
        described.append(describe(state.open_transaction, now))

    line = "an upstream transaction has been open for {} s; 9 records from offset 0 on can't be read until it ends"
    assert described == [None, line.format(19), line.format(20), None]


async def test_a_partition_with_queued_or_open_records_has_no_watermark(harness: WatermarkHarness) -> None:
    await harness.fetch(position=3, records=3)
    assert await harness.watermark(FakeEnds(3)) is None

    await harness.buffers.take("alpha", 1000, 1_000_000)
    assert await harness.watermark(FakeEnds(3)) is None


async def test_records_between_the_client_and_the_queue_are_not_overlooked(harness: WatermarkHarness) -> None:
    """The client's position is past them already, and they are not queued yet."""
    await harness.fetch(position=0)

    class FetchedMeanwhile(FakeEnds):
        async def end_offsets(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]:
            harness.log.positions[ONE] = 3
            return await super().end_offsets(partitions)

    assert await harness.watermark(FetchedMeanwhile(3)) is None


async def test_a_closed_partition_has_no_watermark(harness: WatermarkHarness) -> None:
    await harness.fetch(position=0)
    harness.buffers.close_all()

    assert await harness.watermark(FakeEnds(0)) is None


async def test_no_watermark_is_stored_during_a_rebalance(harness: WatermarkHarness) -> None:
    await harness.fetch(position=0)
    harness.buffers.assignment_ready = False

    assert await harness.watermark(FakeEnds(0)) is None


@pytest.mark.parametrize(("database", "here"), [(0, 0), (0, 259_200), (259_200, 0)], ids=["same", "here", "database"])
async def test_of_two_clocks_the_earlier_one_counts(harness: WatermarkHarness, database: int, here: int) -> None:
    await harness.fetch(position=0)
    clocks = {"at": NOW + timedelta(seconds=database), "here": NOW + timedelta(seconds=here)}

    assert await harness.watermark(FakeEnds(0), **clocks) == Watermark(0, NOW, 0)


async def test_a_partition_that_is_never_idle_has_a_watermark(harness: WatermarkHarness) -> None:
    """Whenever the end is read, there are unread records; what was the end before is reached."""
    stored = []
    for minute in range(6):
        await harness.fetch(position=3 * (minute + 1), records=3)
        stored.append(await harness.watermark(FakeEnds(3 * (minute + 2)), at=NOW + timedelta(minutes=minute)))
        await harness.process_all()

    reached = {0: None, 1: None, 2: 0, 3: None, 4: 2, 5: None}
    assert stored == [
        None if asked is None else Watermark(3 * minute, NOW + timedelta(minutes=asked), 3 * minute)
        for minute, asked in reached.items()
    ]


async def test_an_unverified_stored_offset_has_no_watermark(harness: WatermarkHarness) -> None:
    """The last processed record is still to be compared with the log."""
    harness.buffers.add([partition_at(4)])

    assert await harness.watermark(FakeEnds(4)) is None


@pytest.mark.parametrize("available", [True, False], ids=["database available", "database away"])
async def test_the_lag_of_a_worker_that_fetches_nothing_grows_with_the_log(*, available: bool) -> None:
    buffers = PartitionBuffers(BufferLimits(100, 1_000_000))
    buffers.add([partition_at()])
    buffers.mark_assignment_ready()
    status = ConsumerStatus(buffers, RetryingAgents(), str, GroupHealth())
    ends = FakeEnds(0)
    status.attach(FetchHealth(), FakeLog())
    assert [partition.records for partition in status.lag()] == [0]

    ends.end = 500
    await EndOffsets(buffers, ends, FakeWatermarks(available=available)).refresh()

    assert [partition.records for partition in status.lag()] == [500]
