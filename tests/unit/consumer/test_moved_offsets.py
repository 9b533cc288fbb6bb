"""A paused partition goes on where an operator moved its stored offset."""

from __future__ import annotations

from els_stream.consumer.fetcher import Fetcher
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.reporting import NullMetrics
from els_stream.consumer.start_offsets import LogState, PartitionUnavailable
from els_stream.kafka.offsets import Partition, StoredOffset
from els_stream.kafka.partition_read import ReadFailure
from tests.support.consumer_fakes import FETCH_OPTIONS, FakeLog, FakeOffsetStore, fake_records

ONE, TWO = Partition("alpha", 0), Partition("alpha", 1)


class FetcherHarness:
    def __init__(self, *partitions: Partition) -> None:
        self.now = 0.0
        self.log = FakeLog(dict.fromkeys(partitions, LogState(0, 50, None)))
        self.store = FakeOffsetStore(dict.fromkeys(partitions, StoredOffset(10, None)))
        self.buffers = PartitionBuffers(BufferLimits(100, 1_000_000), clock=lambda: self.now)
        self.buffers.mark_assignment_ready()
        self.fetcher = Fetcher(self.buffers, self.log, self.store, NullMetrics(), FETCH_OPTIONS)

    async def steps(self, count: int) -> None:
        for _ in range(count):
            await self.fetcher.step()
            self.now += 1


async def test_a_paused_partition_goes_on_at_a_moved_offset() -> None:
    harness = FetcherHarness(ONE)
    harness.log.failures[ONE] = ReadFailure("CorruptRecordException")
    await harness.steps(3)
    pause = harness.buffers.partitions[ONE].fetch_pause
    assert pause is not None
    assert (pause.offset, pause.times) == (10, 3)

    harness.store.rows[ONE] = StoredOffset(20, None)
    harness.log.failures.clear()
    harness.log.records[ONE] = fake_records(20, 2)
    await harness.steps(2)

    assert [record.offset for record in harness.buffers.partitions[ONE].queue] == [20, 21]


async def test_a_failing_partition_leaves_the_others_alone() -> None:
    harness = FetcherHarness(ONE, TWO)
    harness.log.failures[ONE] = ReadFailure("CorruptRecordException")
    for number in range(3):
        harness.log.records[TWO] = fake_records(10 + number, 1)
        await harness.steps(1)
    assert len(harness.buffers.partitions[TWO].queue) == 3


async def test_a_partition_without_a_leader_is_paused_and_taken_up_again() -> None:
    harness = FetcherHarness(ONE, TWO)
    harness.log.state[ONE] = PartitionUnavailable("LeaderNotAvailableError")
    await harness.steps(2)
    assert set(harness.buffers.partitions) == {TWO}
    assert harness.buffers.paused[ONE].cause == "LeaderNotAvailableError"

    harness.log.state[ONE] = LogState(0, 50, None)
    await harness.steps(2)
    assert set(harness.buffers.partitions) == {ONE, TWO}
    assert not harness.buffers.paused


async def test_offsets_that_the_log_lost_are_passed_over() -> None:
    harness = FetcherHarness(ONE)
    harness.log.failures[ONE] = ReadFailure("OffsetOutOfRangeError", out_of_range=True)
    harness.log.state[ONE] = LogState(30, 50, None)
    await harness.steps(1)
    assert harness.buffers.partitions[ONE].start == 30


async def test_an_offset_that_the_log_still_has_is_never_passed_over() -> None:
    """The broker may say that an offset is out of range while the log has it, such as a follower that lags."""
    harness = FetcherHarness(ONE)
    harness.log.failures[ONE] = ReadFailure("OffsetOutOfRangeError", out_of_range=True)
    await harness.steps(3)
    assert harness.buffers.partitions[ONE].start == 10

    harness.log.failures.clear()
    harness.log.records[ONE] = fake_records(10, 1)
    await harness.steps(1)
    assert [record.offset for record in harness.buffers.partitions[ONE].queue] == [10]
