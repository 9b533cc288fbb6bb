"""Waiting for a condition: it is checked again and again until it holds or the time is over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

Condition: TypeAlias = Callable[[], bool | Awaitable[bool]]

POLL_INTERVAL_SECONDS: Final = 0.02
# Limits are for a run in one process; several processes (pytest-xdist) share the machine.
PROCESSES: Final = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


async def until(condition: Condition, *, seconds: float | None = 10, every: float = POLL_INTERVAL_SECONDS) -> None:
    """Wait until the condition holds; raises TimeoutError after `seconds`.

    None is for a condition that raises by itself.
    """
    async with asyncio.timeout(None if seconds is None else seconds * PROCESSES):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(every)


async def suspended(task: asyncio.Task[Any]) -> None:
    """Wait until the task has begun and waits for something, or is done."""
    coroutine: Any = task.get_coro()
    await until(lambda: task.done() or coroutine.cr_await is not None, every=0)
