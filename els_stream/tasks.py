"""Asyncio helpers: a periodic loop, work that ends early when a stop event is set, and calls that may block."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def run_every(seconds: float, act: Callable[[], Awaitable[object]], *, jitter: float = 0.0) -> None:
    """Call `act` again and again, with a pause of `seconds` after each call, until cancelled.

    With `jitter`, each pause is drawn from `seconds` plus or minus that fraction. An error that `act` raises ends the
    loop.
    """
    draw = random.SystemRandom()
    while True:
        await act()
        await asyncio.sleep(seconds * draw.uniform(1 - jitter, 1 + jitter))


async def run_until(stop: asyncio.Event, work: Coroutine[Any, Any, T], *, grace_seconds: float = 0.0) -> T | None:
    """Return the result of `work`, or None if `stop` is set first.

    After `stop`, `work` has `grace_seconds` to end; then it is cancelled and waited for. If `stop` is set already,
    `work` does not start.
    """
    if stop.is_set():
        work.close()
        return None
    working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await asyncio.wait({working}, timeout=grace_seconds)
        return working.result() if working.done() else None
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


async def in_daemon_thread(call: Callable[[], object], *, name: str) -> None:
    """Make a call that may block in a daemon thread and wait until it ends; its error goes to `threading.excepthook`.

    If the caller is cancelled the thread goes on, and it ends with the process. A thread of an executor
    (`asyncio.to_thread`) would keep the process alive instead, for as long as the call blocks.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            call()
        finally:
            with suppress(RuntimeError):  # the loop is closed: no one waits any more
                loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=run, name=name, daemon=True).start()
    await ended.wait()
