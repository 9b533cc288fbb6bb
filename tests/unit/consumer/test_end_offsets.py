"""The lag and the watermark. Deadlines are judged by the watermark, so it must not overlook a record on its way."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from els_stream.consumer.batch_outcome import RetryingAgents
from els_stream.consumer.end_offsets import refresh_once
from els_stream.consumer.fetcher import Fetcher, FetchHealth
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.partition_state import PartitionState
from els_stream.consumer.reporting import NullMetrics
from els_stream.consumer.status import ConsumerStatus
from els_stream.kafka.offsets import Partition
from tests.support.consumer_fakes import FETCH_OPTIONS, FakeLog, FakeOffsetStore, fake_records, partition_at

ONE = Partition("alpha", 0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakeEnds:
    """A log that ends at `end`; the client has fetched nothing of it."""

    end: int

    async def end_offsets(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]:
        return dict.fromkeys(partitions, self.end)


@dataclass
class FakeWatermarks:
    available: bool = True
    stored: list[tuple[Mapping[Partition, int], datetime]] = field(default_factory=list)

    async def database_time(self) -> datetime:
        if not self.available:
            raise ConnectionRefusedError
        return NOW

    async def store_watermark(self, offsets: Mapping[Partition, int], read_at: datetime) -> None:
        self.stored.append((offsets, read_at))


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

    async def watermark(self, ends: FakeEnds) -> Mapping[Partition, int]:
        """Return the offsets for which a refresh stores the watermark."""
        watermarks = FakeWatermarks()
        await refresh_once(self.buffers, ends, watermarks)
        return watermarks.stored[0][0] if watermarks.stored else {}


@pytest.fixture
async def harness() -> WatermarkHarness:
    return WatermarkHarness()


async def test_a_partition_processed_to_its_end_has_a_watermark(harness: WatermarkHarness) -> None:
    await harness.fetch(position=3, records=3)
    await harness.process_all()

    assert await harness.watermark(FakeEnds(3)) == {ONE: 3}


async def test_an_empty_partition_has_a_watermark_after_its_first_fetch(harness: WatermarkHarness) -> None:
    assert await harness.watermark(FakeEnds(0)) == {}
    await harness.fetch(position=0)
    assert await harness.watermark(FakeEnds(0)) == {ONE: 0}


async def test_transaction_markers_after_the_last_record_do_not_count(harness: WatermarkHarness) -> None:
    await harness.fetch(position=3, records=3)
    await harness.process_all()
    await harness.fetch(position=5)

    assert await harness.watermark(FakeEnds(5)) == {ONE: 3}


async def test_a_partition_with_unfetched_records_has_no_watermark(harness: WatermarkHarness) -> None:
    await harness.fetch(position=3, records=3)
    await harness.process_all()

    assert await harness.watermark(FakeEnds(4)) == {}


async def test_a_partition_with_queued_or_open_records_has_no_watermark(harness: WatermarkHarness) -> None:
    await harness.fetch(position=3, records=3)
    assert await harness.watermark(FakeEnds(3)) == {}

    await harness.buffers.take("alpha", 1000, 1_000_000)
    assert await harness.watermark(FakeEnds(3)) == {}


async def test_records_between_the_client_and_the_queue_are_not_overlooked(harness: WatermarkHarness) -> None:
    """The client's position is past them already, and they are not queued yet."""
    await harness.fetch(position=0)

    class FetchedMeanwhile(FakeEnds):
        async def end_offsets(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]:
            harness.log.positions[ONE] = 3
            return await super().end_offsets(partitions)

    assert await harness.watermark(FetchedMeanwhile(3)) == {}


async def test_a_closed_partition_has_no_watermark(harness: WatermarkHarness) -> None:
    await harness.fetch(position=0)
    harness.buffers.close_all()

    assert await harness.watermark(FakeEnds(0)) == {}


async def test_no_watermark_is_stored_during_a_rebalance(harness: WatermarkHarness) -> None:
    await harness.fetch(position=0)
    harness.buffers.assignment_ready = False

    assert await harness.watermark(FakeEnds(0)) == {}


async def test_the_watermark_is_the_database_time_before_the_ends_are_read(harness: WatermarkHarness) -> None:
    await harness.fetch(position=0)
    watermarks = FakeWatermarks()

    await refresh_once(harness.buffers, FakeEnds(0), watermarks)

    assert watermarks.stored == [({ONE: 0}, NOW)]


@pytest.mark.parametrize("available", [True, False], ids=["database available", "database away"])
async def test_the_lag_of_a_worker_that_fetches_nothing_grows_with_the_log(*, available: bool) -> None:
    buffers = PartitionBuffers(BufferLimits(100, 1_000_000))
    buffers.add([partition_at()])
    buffers.mark_assignment_ready()
    status = ConsumerStatus(buffers, RetryingAgents(), str)
    ends = FakeEnds(0)
    status.attach(FetchHealth(), FakeLog())
    assert [partition.records for partition in status.lag()] == [0]

    ends.end = 500
    await refresh_once(buffers, ends, FakeWatermarks(available=available))

    assert [partition.records for partition in status.lag()] == [500]
