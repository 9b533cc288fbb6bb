from __future__ import annotations

import asyncio

from els_stream.intake.behind import Behind


async def test_the_first_has_its_turn_at_once() -> None:
    await asyncio.wait_for(Behind().turn(), 1)


async def test_a_successor_has_its_turn_when_its_predecessor_has_worked_though_not_ended() -> None:
    first = Behind()
    task = asyncio.create_task(asyncio.sleep(60), name="the predecessor, which commits slowly")
    second = Behind(task, first.has_worked)
    turn = asyncio.create_task(second.turn())
    done, _ = await asyncio.wait({turn}, timeout=0.02)
    assert not done

    first.worked()

    await asyncio.wait_for(turn, 1)
    assert second.open
    task.cancel()


async def test_whoever_comes_after_one_that_ended_waits_for_nothing() -> None:
    first = Behind()
    task = asyncio.create_task(asyncio.sleep(0))
    await task

    await asyncio.wait_for(Behind(task, first.has_worked).turn(), 1)
