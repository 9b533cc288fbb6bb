from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from els_stream.consumer.batch_order import BatchOrder


@dataclass
class Pair:
    """Two micro-batches of one agent, the first of which ends when it is told to."""

    first: BatchOrder
    second: BatchOrder
    end: asyncio.Event
    task: asyncio.Task[None]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    end = asyncio.Event()

    async def until_told() -> None:
        await end.wait()

    task = asyncio.create_task(until_told())
    first = BatchOrder()
    yield Pair(first, BatchOrder(task, first.progress), end, task)
    end.set()
    await task


async def stays_open(task: asyncio.Task[Any]) -> bool:
    done, _ = await asyncio.wait({task}, timeout=0.02)
    return not done


async def test_the_first_waits_for_nobody() -> None:
    await asyncio.wait_for(BatchOrder().turn(), 1)
    assert await BatchOrder().ledger_turn()


async def test_a_successor_begins_when_its_predecessor_holds_its_locks(pair: Pair) -> None:
    turn = asyncio.create_task(pair.second.turn())
    assert await stays_open(turn)
    pair.first.locked()
    await asyncio.wait_for(turn, 1)


async def test_it_comes_to_the_ledger_when_its_predecessor_has_moved_it_though_not_committed(pair: Pair) -> None:
    pair.first.locked()
    turn = asyncio.create_task(pair.second.ledger_turn())
    assert await stays_open(turn)
    pair.first.progress.has_moved()
    assert await asyncio.wait_for(turn, 1)
    assert pair.second.open


async def test_it_gives_way_as_soon_as_its_predecessor_fails_which_may_want_its_locks(pair: Pair) -> None:
    pair.first.locked()
    turn = asyncio.create_task(pair.second.ledger_turn())
    assert await stays_open(turn)
    pair.first.progress.has_failed()
    assert not await asyncio.wait_for(turn, 1)


async def test_it_gives_way_to_one_that_takes_too_long(pair: Pair) -> None:
    assert not await asyncio.wait_for(pair.second.ledger_turn(), 10)


async def test_behind_one_that_failed_it_begins_only_after_its_end(pair: Pair) -> None:
    pair.first.progress.has_failed()
    turn = asyncio.create_task(pair.second.turn())
    assert await stays_open(turn)
    pair.end.set()
    await asyncio.wait_for(turn, 1)


async def test_whoever_comes_after_one_that_ended_waits_for_nothing(pair: Pair) -> None:
    pair.end.set()
    await pair.task
    await asyncio.wait_for(pair.second.turn(), 1)
    assert await pair.second.ledger_turn()
