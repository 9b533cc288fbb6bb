"""Restarts the relay's components: whatever ends one is reported, and it runs again after a backoff."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeAlias

from els_stream.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from els_stream.relay.options import RelayOptions

OnError: TypeAlias = "Callable[[str, BaseException], None]"


async def supervise(
    name: str, run: Callable[[], Coroutine[None, None, None]], options: RelayOptions, on_error: OnError
) -> None:
    """Run it again and again until it returns or this task is cancelled.

    A bug in it is reported and retried like an outage. The backoff starts again after a run that lasted longer than
    the longest delay.
    """
    backoff = Backoff(options.retry_initial_seconds, options.retry_max_seconds)
    attempt = 0
    while True:
        started = time.monotonic()
        error = await _run_to_its_end(asyncio.create_task(run(), name=name))
        if error is None:
            return
        on_error(name, error)
        if time.monotonic() - started > options.retry_max_seconds:
            attempt = 0
        attempt += 1
        await asyncio.sleep(backoff.equal_jitter(attempt))


async def _run_to_its_end(task: asyncio.Task[None]) -> BaseException | None:
    """Return the error that ended the task. If the caller is cancelled, cancel the task and wait for it."""
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
    return asyncio.CancelledError() if task.cancelled() else task.exception()
