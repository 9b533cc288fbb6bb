"""What may be said to be handled: deadlines are judged by it, so a record on its way must never be overlooked."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import pytest

from els_stream.consumer.caught_up import caught_up
from els_stream.consumer.fetcher import Fetcher
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.partition_state import PartitionState
from els_stream.consumer.reporting import NullMetrics
from els_stream.kafka.offsets import Partition
from tests.support.consumer_fakes import FakeLog, FakeOffsetStore, fetched, part_at

ONE = Partition("alpha", 0)


class Ends:
    def __init__(self, end: int) -> None:
        self.end = end

    async def ends(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]:
        return dict.fromkeys(partitions, self.end)


class Scene:
    def __init__(self) -> None:
        self.lane = PartitionBuffers(BufferLimits(100, 1_000_000))
        self.log = FakeLog()
        self.part: PartitionState = part_at()
        self.lane.join([self.part])
        self.lane.settle()
        self.feeder = Fetcher(self.lane, self.log, FakeOffsetStore(), NullMetrics(), (OSError,), str)

    async def fetches(self, *, position: int, records: int = 0) -> None:
        """One round that brings so many records and leaves the client there."""
        self.log.positions[ONE] = position
        if records:
            self.log.records[ONE] = fetched(self.part.expected, records)
        await self.feeder.step()

    async def handles_all(self) -> None:
        batch = await self.lane.take("alpha", 1000, 1_000_000)
        self.lane.handled(batch)


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_an_end_that_was_reached_with_all_handled_is_caught_up_with(scene: Scene) -> None:
    await scene.fetches(position=3, records=3)
    await scene.handles_all()

    assert await caught_up(scene.lane, Ends(3)) == {ONE: 3}


async def test_an_empty_partition_is_caught_up_with_after_its_first_fetch(scene: Scene) -> None:
    assert await caught_up(scene.lane, Ends(0)) == {}
    await scene.fetches(position=0)
    assert await caught_up(scene.lane, Ends(0)) == {ONE: 0}


async def test_markers_of_transactions_behind_the_last_record_are_no_record(scene: Scene) -> None:
    await scene.fetches(position=3, records=3)
    await scene.handles_all()
    await scene.fetches(position=5)

    assert await caught_up(scene.lane, Ends(5)) == {ONE: 3}


async def test_an_end_beyond_what_was_fetched_is_not_caught_up_with(scene: Scene) -> None:
    await scene.fetches(position=3, records=3)
    await scene.handles_all()

    assert await caught_up(scene.lane, Ends(4)) == {}


async def test_queued_and_unfinished_records_are_not_caught_up_with(scene: Scene) -> None:
    await scene.fetches(position=3, records=3)
    assert await caught_up(scene.lane, Ends(3)) == {}

    await scene.lane.take("alpha", 1000, 1_000_000)
    assert await caught_up(scene.lane, Ends(3)) == {}


async def test_records_on_their_way_from_the_client_to_the_queue_are_not_caught_up_with(scene: Scene) -> None:
    """The client stands behind them already; nothing of them is queued yet."""
    await scene.fetches(position=0)

    class AskedInTheMiddle(Ends):
        async def ends(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, int]:
            scene.log.positions[ONE] = 3
            return await super().ends(partitions)

    assert await caught_up(scene.lane, AskedInTheMiddle(3)) == {}


async def test_a_part_that_died_is_not_caught_up_with(scene: Scene) -> None:
    await scene.fetches(position=0)
    scene.lane.clear()

    assert await caught_up(scene.lane, Ends(0)) == {}
