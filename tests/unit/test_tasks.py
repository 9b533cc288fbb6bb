"""Periodic loops, work that a stop event ends, and calls that block."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from els_stream.tasks import in_daemon_thread, run_every, run_until


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
    stop, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        asyncio.get_running_loop().call_soon(may_end.set)
        stop.set()
        await may_end.wait()
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


async def test_a_call_in_a_daemon_thread_is_waited_for() -> None:
    names: list[str] = []

    await in_daemon_thread(lambda: names.append(threading.current_thread().name), name="calling")

    assert names == ["calling"]


async def test_a_call_that_ends_after_its_caller_was_cancelled_changes_nothing() -> None:
    release, ended = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def block() -> None:
        release.wait()
        loop.call_soon_threadsafe(loop.call_soon, ended.set)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await in_daemon_thread(block, name="blocking")
    release.set()
    await asyncio.wait_for(ended.wait(), 5)


def test_a_call_that_blocks_does_not_keep_the_process_alive() -> None:
    code = (
        "import asyncio, threading\n"
        "from els_stream.tasks import in_daemon_thread\n"
        "started = threading.Event()\n"
        "def block():\n"
        "    started.set()\n"
        "    threading.Event().wait()\n"
        "async def main():\n"
        "    task = asyncio.create_task(in_daemon_thread(block, name='blocking'))\n"
        "    assert await asyncio.to_thread(started.wait, 20)\n"
        "    task.cancel()\n"
        "asyncio.run(main())\n"
    )

    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
