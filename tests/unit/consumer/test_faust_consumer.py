from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
import uvloop

from els_stream.consumer.faust_consumer import ElsConsumer
from els_stream.consumer.reporting import NullMetrics


async def cancel_fetcher(*, stopped: bool) -> asyncio.Task[None]:
    """Cancel the fetcher in the middle of a step."""
    stepping = asyncio.Event()

    async def never_ends() -> None:
        stepping.set()
        await asyncio.Event().wait()

    fetcher = SimpleNamespace(_stopped=asyncio.Event())
    consumer = SimpleNamespace(
        _stopped=asyncio.Event(), app=SimpleNamespace(should_stop=False), _backend=SimpleNamespace(step=never_ends)
    )
    task: asyncio.Task[None] = asyncio.create_task(cast("Any", ElsConsumer)._drain_messages(consumer, fetcher))
    async with asyncio.timeout(5):
        await stepping.wait()
        if stopped:
            fetcher._stopped.set()
        task.cancel()
        await asyncio.wait([task])
    return task


async def test_a_stopped_fetcher_ends_without_an_error() -> None:
    """During a rebalance Faust takes a cancellation for a request to restart, which crashes a worker that stops."""
    (await cancel_fetcher(stopped=True)).result()


async def test_a_cancelled_fetcher_raises_cancelled_error() -> None:
    task = await cancel_fetcher(stopped=False)

    with pytest.raises(asyncio.CancelledError):
        task.result()


async def test_kafkas_client_runs_in_asyncios_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uvloop raises RuntimeError for a write to a lost connection, which silently ends aiokafka's tasks."""
    monkeypatch.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)
    app = faust.App("loops", broker="kafka://localhost:1")
    consumer = SimpleNamespace(
        loop=asyncio.get_running_loop(),
        beacon=None,
        app=app,
        transport=SimpleNamespace(app=app, backend=SimpleNamespace(metrics=NullMetrics())),
        RebalanceListener=ElsConsumer.RebalanceListener,
    )

    thread = cast("Any", ElsConsumer)._new_consumer_thread(consumer)
    thread.thread_loop.close()

    assert type(thread.thread_loop) is asyncio.SelectorEventLoop
