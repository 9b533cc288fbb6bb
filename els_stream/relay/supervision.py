"""Keeps the relay's parts running: whatever ends one is told, waited out and tried again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from random import SystemRandom
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from els_stream.relay.options import RelayOptions

Report: TypeAlias = "Callable[[str, BaseException], None]"


@dataclass(slots=True)
class Backoff:
    """Doubles up to the limit; jitter keeps relays that fail together from coming back together."""

    initial_seconds: float
    max_seconds: float
    _random: SystemRandom = field(default_factory=SystemRandom)
    _next: float = 0.0

    def reset(self) -> None:
        self._next = 0.0

    def next(self) -> float:
        self._next = min(max(self._next * 2, self.initial_seconds), self.max_seconds)
        return self._next * self._random.uniform(0.5, 1.0)


async def supervise(
    name: str, run: Callable[[], Coroutine[None, None, None]], options: RelayOptions, report: Report
) -> None:
    """Runs it again and again until cancelled. A bug in it is retried like an outage, and told the same way."""
    backoff = Backoff(options.retry_initial_seconds, options.retry_max_seconds)
    while True:
        started = time.monotonic()
        error = await _ended(asyncio.create_task(run(), name=name))
        if error is None:
            return
        report(name, error)
        if time.monotonic() - started > options.retry_max_seconds:
            backoff.reset()
        await asyncio.sleep(backoff.next())


async def _ended(task: asyncio.Task[None]) -> BaseException | None:
    """What ended it; when we are cancelled meanwhile, so is the task, and it is waited for."""
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
    return asyncio.CancelledError() if task.cancelled() else task.exception()
