from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from els_stream.consumer.batch_order import BatchOrder, Stage
from els_stream.kafka.offsets import Partition
from tests.support.waiting import suspended

WAIT_SECONDS = 0.02  # what woke the task could run by then
ALPHA, BETA = Partition("alpha", 0), Partition("beta", 0)


@pytest.fixture
def first() -> BatchOrder:
    return BatchOrder(None, {ALPHA, BETA})


@pytest.fixture
def second(first: BatchOrder) -> BatchOrder:
    return BatchOrder(first, {ALPHA})


async def still_waits(task: asyncio.Task[Any]) -> bool:
    await suspended(task)
    done, _ = await asyncio.wait({task}, timeout=WAIT_SECONDS)
    return not done


async def test_the_first_batch_waits_for_nothing(first: BatchOrder) -> None:
    await asyncio.wait_for(first.wait_for_locks(), 1)
    await asyncio.wait_for(first.wait_for_predecessor(), 1)
    assert await first.wait_for_offsets()
    assert not first.predecessor_in_flight


async def test_a_successor_begins_when_its_predecessor_holds_its_locks(first: BatchOrder, second: BatchOrder) -> None:
    waiting = asyncio.create_task(second.wait_for_locks())
    assert await still_waits(waiting)

    first.advance(Stage.LOCKED)

    await asyncio.wait_for(waiting, 1)


async def test_a_successor_goes_on_when_the_offsets_are_advanced(first: BatchOrder, second: BatchOrder) -> None:
    """They need not be committed: the row lock of the stored offset waits for that."""
    first.advance(Stage.LOCKED)
    waiting = asyncio.create_task(second.wait_for_offsets())
    assert await still_waits(waiting)

    first.advance(Stage.OFFSETS_ADVANCED)

    assert await asyncio.wait_for(waiting, 1)
    assert second.predecessor_in_flight


async def test_a_successor_yields_when_its_predecessor_fails(first: BatchOrder, second: BatchOrder) -> None:
    """The predecessor may need locks of the successor when it tries again."""
    first.advance(Stage.LOCKED)
    waiting = asyncio.create_task(second.wait_for_offsets())
    assert await still_waits(waiting)

    first.advance(Stage.FAILED)

    assert not await asyncio.wait_for(waiting, 1)


async def test_a_successor_yields_to_a_predecessor_that_takes_too_long(second: BatchOrder) -> None:
    assert not await asyncio.wait_for(second.wait_for_offsets(), 10)


async def test_after_a_failure_the_successor_begins_at_the_end(first: BatchOrder, second: BatchOrder) -> None:
    first.advance(Stage.FAILED)
    waiting = asyncio.create_task(second.wait_for_locks())
    assert await still_waits(waiting)
    first.advance(Stage.LOCKED)  # of its second attempt
    assert await still_waits(waiting)

    first.end()

    await asyncio.wait_for(waiting, 1)


async def test_a_failed_commit_is_a_failure(first: BatchOrder, second: BatchOrder) -> None:
    first.advance(Stage.OFFSETS_ADVANCED)
    first.advance(Stage.FAILED)

    assert not await second.wait_for_offsets()


async def test_nothing_waits_for_a_batch_that_has_ended(first: BatchOrder, second: BatchOrder) -> None:
    first.end()

    await asyncio.wait_for(second.wait_for_locks(), 1)
    await asyncio.wait_for(second.wait_for_predecessor(), 1)
    assert await second.wait_for_offsets()
    assert not second.predecessor_in_flight


async def test_batches_of_different_partitions_do_not_wait_for_each_other(second: BatchOrder) -> None:
    beside = BatchOrder(second, {Partition("gamma", 0)})

    await asyncio.wait_for(beside.wait_for_locks(), 1)
    assert await beside.wait_for_offsets()
    assert not beside.predecessor_in_flight


async def test_a_batch_waits_for_all_that_have_its_partitions(first: BatchOrder, second: BatchOrder) -> None:
    third = BatchOrder(second, {BETA, ALPHA})
    fourth = BatchOrder(third, {BETA})
    second.advance(Stage.OFFSETS_ADVANCED)
    third.advance(Stage.OFFSETS_ADVANCED)
    waiting = asyncio.create_task(fourth.wait_for_offsets())
    assert await still_waits(waiting)

    first.advance(Stage.OFFSETS_ADVANCED)

    assert await asyncio.wait_for(waiting, 1)


async def test_the_end_of_a_batch_is_after_all_before_it(first: BatchOrder) -> None:
    beside = BatchOrder(first, {Partition("gamma", 0)})
    waiting = asyncio.create_task(beside.wait_for_predecessor())
    assert await still_waits(waiting)

    first.end()

    await asyncio.wait_for(waiting, 1)


def test_a_batch_that_has_ended_keeps_no_earlier_one_in_memory() -> None:
    first = BatchOrder(None, {ALPHA})
    second = BatchOrder(first, {ALPHA})
    gone = weakref.ref(first)
    first.end()
    second.end()
    del first
    gc.collect()

    assert gone() is None
