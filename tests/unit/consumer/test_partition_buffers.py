from __future__ import annotations

import asyncio

import pytest

from els_stream.consumer.micro_batch import KeysInFlight
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.kafka.offsets import Partition
from tests.support.consumer_fakes import FakeRecord, fake_records, offsets_of, partition_at
from tests.support.waiting import suspended

ONE, TWO = Partition("alpha", 0), Partition("alpha", 1)


@pytest.fixture
def buffers() -> PartitionBuffers:
    return PartitionBuffers(BufferLimits(5, 1_000_000))


async def test_take_waits_only_while_nothing_is_queued(buffers: PartitionBuffers) -> None:
    taking = asyncio.create_task(buffers.take("alpha", 10, 1000))
    await suspended(taking)
    assert not taking.done()
    state = partition_at()
    buffers.add([state])
    state.receive(fake_records(0, 1), "alpha")
    buffers.notify("alpha")
    assert offsets_of(await asyncio.wait_for(taking, 1)) == [0]


async def test_take_waits_while_all_queued_keys_are_in_flight(buffers: PartitionBuffers) -> None:
    first, later = partition_at(), FakeRecord(1, key=b"an essay crisis")
    first.receive([FakeRecord(0, key=b"an essay crisis")], "alpha")
    buffers.add([first])
    in_flight = {1: KeysInFlight(await buffers.take("alpha", 10, 1000))}
    first.receive([later], "alpha")
    taking = asyncio.create_task(buffers.take("alpha", 10, 1000, in_flight.values()))
    await suspended(taking)
    assert not taking.done()
    first.receive([FakeRecord(2, key=b"an essay crisis")], "alpha")
    in_flight.clear()
    buffers.notify("alpha")
    assert offsets_of(await asyncio.wait_for(taking, 1)) == [1, 2]


async def test_take_begins_with_another_partition_each_time(buffers: PartitionBuffers) -> None:
    for partition in range(2):
        state = partition_at(partition=partition)
        state.receive(fake_records(0, 5), "alpha")
        buffers.add([state])
    firsts = [(await buffers.take("alpha", 1, 1000))[0].state.partition for _ in range(4)]
    assert firsts == [ONE, TWO, ONE, TWO]


def test_queued_records_fill_micro_batches_by_number_or_size(buffers: PartitionBuffers) -> None:
    for topic, partition, count in [("alpha", 0, 1), ("alpha", 1, 2), ("beta", 0, 5)]:
        state = partition_at(topic=topic, partition=partition)
        state.receive(fake_records(0, count), topic)
        buffers.add([state])
    size = buffers.partitions[ONE].queued_bytes  # of one record
    assert buffers.queued("alpha", max_records=4, max_bytes=1000 * size) == 0.75
    assert buffers.queued("alpha", max_records=1000, max_bytes=2 * size) == 1.5


async def test_a_closed_partition_is_not_taken(buffers: PartitionBuffers) -> None:
    state = partition_at()
    state.receive(fake_records(0, 5), "alpha")
    buffers.add([state])
    buffers.close_all()
    buffers.stop()
    assert await buffers.take("alpha", 10, 1000) == ()


def test_a_paused_partition_is_positioned_again_after_its_pause() -> None:
    now = 0.0
    buffers = PartitionBuffers(BufferLimits(5, 1000), clock=lambda: now)
    state = partition_at()
    buffers.add([state])
    assert buffers.pause_partition(state, "08006", lambda times: 10.0 * times) == 10
    assert buffers.unpositioned({ONE}) == set()
    now = 10
    assert buffers.unpositioned({ONE}) == {ONE}
    again = partition_at()
    buffers.add([again])
    assert buffers.pause_partition(again, "08006", lambda times: 10.0 * times) == 20


def test_a_pause_ends_when_another_owner_got_past_it(buffers: PartitionBuffers) -> None:
    state = partition_at(7)
    buffers.add([state])
    buffers.pause_partition(state, "bug", lambda _: 0.0)
    buffers.add([partition_at(8)])
    assert buffers.paused == {}


async def test_quiesce_waits_for_transactions_within_a_limit(buffers: PartitionBuffers) -> None:
    endless = asyncio.create_task(_wait_forever())
    buffers.in_flight.add(endless)
    await asyncio.wait_for(buffers.quiesce(0.01), 1)
    buffers.cancel_in_flight()
    with pytest.raises(asyncio.CancelledError):
        await endless


async def _wait_forever() -> None:
    await asyncio.Event().wait()
