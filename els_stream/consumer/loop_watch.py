"""Watches the worker's event loop from the thread of the Kafka client, whose own loop goes on when that one stands.

Without this the thread would send heartbeats to the group, and so keep partitions that no one processes.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from operator import attrgetter
from types import FrameType
from typing import Final

from els_stream.consumer.reporting import ConsumerEvent, ConsumerMetrics

log = logging.getLogger(__name__)

ASK_INTERVAL_SECONDS: Final = 0.5
BLOCKED_AFTER_SECONDS: Final = 5.0
LOGGED_CALLS: Final = 4

_current_frames = attrgetter("_current_frames")  # public in spite of its name: it is in Python's documentation


async def watch_loop(loop: asyncio.AbstractEventLoop, answered: Callable[[], None], metrics: ConsumerMetrics) -> None:
    """Ask the loop of the main thread for an answer again and again, until cancelled; call `answered` at each.

    A loop that does not answer is logged with the place where it stands, and again when it goes on.
    """
    while True:
        asked_at = time.monotonic()
        answer = asyncio.create_task(_answer(loop))
        try:
            done, _ = await asyncio.wait({answer}, timeout=BLOCKED_AFTER_SECONDS)
            if not done:
                metrics.record_event(ConsumerEvent.LOOP_BLOCKED)
                log.error("the event loop is blocked, no record is processed: %s", _place())
                await answer
                log.error("the event loop goes on; it was blocked for %.1f s", time.monotonic() - asked_at)
        finally:
            answer.cancel()
        answered()
        await asyncio.sleep(ASK_INTERVAL_SECONDS)


async def _answer(loop: asyncio.AbstractEventLoop) -> None:
    answered, here = asyncio.Event(), asyncio.get_running_loop()

    def answer() -> None:
        with suppress(RuntimeError):  # the thread has ended meanwhile, and closed its loop
            here.call_soon_threadsafe(answered.set)

    loop.call_soon_threadsafe(answer)
    await answered.wait()


def _place() -> str:
    """Return where the main thread stands: its innermost calls, each followed by its caller."""
    frames: Mapping[int | None, FrameType] = _current_frames(sys)()
    calls = islice(traceback.walk_stack(frames.get(threading.main_thread().ident)), LOGGED_CALLS)
    return " < ".join(f"{frame.f_code.co_name} ({frame.f_code.co_filename}:{line})" for frame, line in calls)
