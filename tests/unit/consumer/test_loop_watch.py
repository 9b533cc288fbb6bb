"""A blocked event loop is noticed from another thread, and named with its place."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler
from queue import SimpleQueue

import pytest

from els_stream.consumer import loop_watch
from els_stream.consumer.loop_watch import watch_loop
from els_stream.consumer.reporting import ConsumerEvent, NullMetrics
from tests.support.waiting import until

SECONDS = 10


class CountedEvents(NullMetrics):
    def __init__(self) -> None:
        self.events: list[ConsumerEvent] = []

    def record_event(self, event: ConsumerEvent, count: int = 1) -> None:
        self.events += [event] * count


@contextmanager
def watched(answered: Callable[[], None], metrics: CountedEvents) -> Iterator[None]:
    """Have another thread watch this loop during the block, and block the loop until that thread has ended."""
    other = asyncio.new_event_loop()
    watching = other.create_task(watch_loop(asyncio.get_running_loop(), answered, metrics))

    def run() -> None:
        other.run_until_complete(asyncio.wait([watching]))
        other.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        other.call_soon_threadsafe(watching.cancel)
        thread.join(SECONDS)


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "ASK_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(loop_watch, "BLOCKED_AFTER_SECONDS", 0.5)


async def test_a_loop_that_runs_answers_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[float] = []
    metrics = CountedEvents()

    with watched(lambda: answers.append(1), metrics):
        await until(lambda: len(answers) >= 5)

    assert (metrics.events, caplog.messages) == ([], [])


@contextmanager
def noted() -> Iterator[SimpleQueue[logging.LogRecord]]:
    """Yield a queue of what the watch logs, which a blocked thread can wait for."""
    records: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = QueueHandler(records)
    loop_watch.log.addHandler(handler)
    try:
        yield records
    finally:
        loop_watch.log.removeHandler(handler)


def block_until_logged(records: SimpleQueue[logging.LogRecord]) -> None:
    records.get(timeout=SECONDS)


async def test_a_blocked_loop_gives_no_answer_and_is_logged_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[float] = []
    metrics = CountedEvents()

    with noted() as records, watched(lambda: answers.append(1), metrics):
        block_until_logged(records)
        before = len(answers)
        await until(lambda: len(answers) > before)

    blocked, ended = caplog.messages
    assert blocked.startswith("the event loop is blocked, no record is processed: block_until_logged (")
    assert ended.startswith("the event loop goes on; it was blocked for ")
    assert metrics.events == [ConsumerEvent.LOOP_BLOCKED]


async def test_an_answer_after_the_end_of_the_watch_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """As when a worker stops whose loop is blocked."""
    with noted() as records, watched(lambda: None, CountedEvents()):
        block_until_logged(records)

    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)  # after what the loop was asked for meanwhile
    await ran.wait()

    (blocked,) = caplog.messages
    assert blocked.startswith("the event loop is blocked")
