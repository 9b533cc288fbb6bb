from __future__ import annotations

import asyncio

import pytest

from els_stream.backoff import Backoff
from els_stream.consumer.fetcher import Fetcher
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.partition_state import spans_of
from els_stream.consumer.reporting import NullMetrics
from els_stream.consumer.start_offsets import LogState
from els_stream.kafka.offsets import Partition, StoredOffset
from tests.support.consumer_fakes import FakeLog, FakeOffsetStore, fetched, offsets, part_at
from tests.support.waiting import suspended

ONE, TWO = Partition("alpha", 0), Partition("alpha", 1)


@pytest.fixture
def lane() -> PartitionBuffers:
    return PartitionBuffers(BufferLimits(5, 1_000_000))


def feeder_of(lane: PartitionBuffers, log: FakeLog, ledger: FakeOffsetStore) -> Fetcher:
    lane.settle()
    return Fetcher(lane, log, ledger, NullMetrics(), (OSError,), str)


async def test_to_take_waits_while_nothing_is_there_and_no_longer(lane: PartitionBuffers) -> None:
    taking = asyncio.create_task(lane.take("alpha", 10, 1000))
    await suspended(taking)
    assert not taking.done()
    part = part_at()
    lane.join([part])
    part.receive(fetched(0, 1), "alpha")
    lane.arrived("alpha")
    assert offsets(await asyncio.wait_for(taking, 1)) == [0]


async def test_partitions_take_turns_at_being_first(lane: PartitionBuffers) -> None:
    for partition in range(2):
        part = part_at(partition=partition)
        part.receive(fetched(0, 5), "alpha")
        lane.join([part])
    firsts = [(await lane.take("alpha", 1, 1000))[0].part.partition for _ in range(4)]
    assert firsts == [ONE, TWO, ONE, TWO]


async def test_what_died_is_not_taken(lane: PartitionBuffers) -> None:
    part = part_at()
    part.receive(fetched(0, 5), "alpha")
    lane.join([part])
    lane.clear()
    lane.stop()
    assert await lane.take("alpha", 10, 1000) == ()


def test_a_held_partition_is_positioned_again_only_after_its_pause() -> None:
    now = 0.0
    lane = PartitionBuffers(BufferLimits(5, 1000), clock=lambda: now)
    part = part_at()
    lane.join([part])
    assert lane.hold(part, "08006", lambda times: 10.0 * times) == 10
    assert lane.missing({ONE}) == set()
    now = 10
    assert lane.missing({ONE}) == {ONE}
    again = part_at()
    lane.join([again])
    assert lane.hold(again, "08006", lambda times: 10.0 * times) == 20


def test_a_hold_ends_when_somebody_else_got_past_it(lane: PartitionBuffers) -> None:
    part = part_at(7)
    lane.join([part])
    lane.hold(part, "bug", lambda _: 0.0)
    lane.join([part_at(8)])
    assert lane.holds == {}


async def test_quiesce_waits_for_transactions_but_not_for_ever(lane: PartitionBuffers) -> None:
    never = asyncio.create_task(_never())
    lane.in_flight.add(never)
    await asyncio.wait_for(lane.quiesce(0.01), 1)
    lane.cancel_in_flight()
    with pytest.raises(asyncio.CancelledError):
        await never


async def test_a_full_partition_is_not_fetched_and_blocks_no_other(lane: PartitionBuffers) -> None:
    log = FakeLog({ONE: LogState(0, 9, None), TWO: LogState(0, 9, None)})
    feeder = feeder_of(lane, log, FakeOffsetStore({ONE: StoredOffset(0, None), TWO: StoredOffset(0, None)}))
    log.records[ONE] = fetched(0, 9)
    await feeder.step()
    await feeder.step()
    assert log.asked == [{ONE, TWO}, {TWO}]


async def test_when_all_are_full_the_client_is_touched_and_not_asked_for_nothing(lane: PartitionBuffers) -> None:
    log = FakeLog({ONE: LogState(0, 9, None)})
    feeder = feeder_of(lane, log, FakeOffsetStore({ONE: StoredOffset(0, None)}))
    log.records[ONE] = fetched(0, 9)
    await feeder.step()
    stepping = asyncio.create_task(feeder.step())
    await suspended(stepping)
    await lane.take("alpha", 9, 100_000)
    await asyncio.wait_for(stepping, 0.5)
    assert (log.asked, log.touched) == ([{ONE}], 1)


async def test_what_was_fetched_before_a_rebalance_is_thrown_away(lane: PartitionBuffers) -> None:
    log = FakeLog({ONE: LogState(0, 9, None)})
    feeder = feeder_of(lane, log, FakeOffsetStore({ONE: StoredOffset(0, None)}))
    log.records[ONE] = fetched(0, 3)
    log.on_fetch = lane.clear
    await feeder.step()
    assert not lane.parts[ONE].queue


async def test_a_log_that_is_another_is_read_from_its_beginning(lane: PartitionBuffers) -> None:
    ledger = FakeOffsetStore({ONE: StoredOffset(5, fetched(90, 1)[0].mark)})
    log = FakeLog({ONE: LogState(0, 9, None)})
    feeder = feeder_of(lane, log, ledger)
    log.records[ONE] = fetched(4, 5)
    await feeder.step()
    await feeder.step()
    log.records[ONE] = fetched(0, 5)
    await feeder.step()
    (span,) = spans_of(await lane.take("alpha", 100, 100_000))
    assert (span.start, span.stop) == (0, 5)


def test_pauses_grow_to_their_bound_and_are_spread() -> None:
    assert [Backoff(0.1, 1, lambda: 1.0).full_jitter(attempt) for attempt in (1, 2, 3, 4, 5, 999)] == [
        0.1,
        0.2,
        0.4,
        0.8,
        1,
        1,
    ]
    assert Backoff(0.1, 1, lambda: 0.0).full_jitter(9) == 0
    assert Backoff(0.1, 1, lambda: 0.0).equal_jitter(9) == 0.5


async def _never() -> None:
    await asyncio.Event().wait()
