"""Periodic loops, and work that a stop event ends."""

from __future__ import annotations

import asyncio

import pytest

from els_stream.tasks import run_every, run_until


async def test_run_every_calls_again_until_cancelled() -> None:
    calls = 0
    third = asyncio.Event()

    async def act() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            third.set()

    running = asyncio.create_task(run_every(0.001, act, jitter=0.5))
    await asyncio.wait_for(third.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_error_ends_run_every() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_every(0, fail)


async def test_run_until_returns_the_result_of_work_that_ends_first() -> None:
    async def work() -> int:
        return 7

    assert await run_until(asyncio.Event(), work()) == 7


async def test_run_until_raises_the_error_of_the_work() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_until(asyncio.Event(), fail())


async def test_run_until_does_not_start_work_after_the_stop() -> None:
    stop, started = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        started.set()
        return 7

    stop.set()
    assert await run_until(stop, work()) is None
    assert not started.is_set()


async def test_run_until_cancels_the_work_and_waits_for_its_end() -> None:
    stop, ended = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        stop.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 7

    assert await run_until(stop, work()) is None
    assert ended.is_set()


async def test_run_until_lets_work_end_within_its_grace() -> None:
    stop = asyncio.Event()

    async def work() -> int:
        stop.set()
        await asyncio.sleep(0)
        return 7

    assert await run_until(stop, work(), grace_seconds=5) == 7


async def test_a_cancelled_run_until_cancels_its_work() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(run_until(asyncio.Event(), work()))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
