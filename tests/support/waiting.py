"""Waiting for what a test is about: looked at again and again, and given up when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

Condition: TypeAlias = Callable[[], bool | Awaitable[bool]]

LOOK_SECONDS: Final = 0.02


async def until(condition: Condition, *, seconds: float | None = 10, every: float = LOOK_SECONDS) -> None:
    """TimeoutError where it does not hold within so many seconds; None is for a condition that gives up by itself."""
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(every)


async def suspended(task: asyncio.Task[Any]) -> None:
    """The task has begun, and now waits for something, or is done."""
    coroutine: Any = task.get_coro()
    await until(lambda: task.done() or coroutine.cr_await is not None, every=0)
