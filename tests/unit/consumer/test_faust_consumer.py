from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
import uvloop

from els_stream.consumer.faust_consumer import ElsConsumer


async def cancelled(*, by_its_stop: bool) -> asyncio.Task[None]:
    """The fetcher's work, cancelled in the middle of a step."""
    stepping = asyncio.Event()

    async def never_ends() -> None:
        stepping.set()
        await asyncio.Event().wait()

    fetcher = SimpleNamespace(_stopped=asyncio.Event())
    consumer = SimpleNamespace(
        _stopped=asyncio.Event(), app=SimpleNamespace(should_stop=False), _intake=SimpleNamespace(step=never_ends)
    )
    task: asyncio.Task[None] = asyncio.create_task(cast("Any", ElsConsumer)._drain_messages(consumer, fetcher))
    async with asyncio.timeout(5):
        await stepping.wait()
        if by_its_stop:
            fetcher._stopped.set()
        task.cancel()
        await asyncio.wait([task])
    return task


async def test_a_fetcher_that_is_stopped_ends_in_order_also_while_the_group_rebalances() -> None:
    """Faust takes a cancellation in a rebalance for an order to restart, which crashes a worker that stops."""
    (await cancelled(by_its_stop=True)).result()


async def test_a_fetcher_that_is_cancelled_otherwise_says_so() -> None:
    task = await cancelled(by_its_stop=False)

    with pytest.raises(asyncio.CancelledError):
        task.result()


async def test_kafkas_client_runs_on_a_loop_that_lets_it_write_to_a_lost_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With uvloop it is a RuntimeError, of which aiokafka's tasks die unheard."""
    monkeypatch.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)
    app = faust.App("loops", broker="kafka://localhost:1")
    consumer = SimpleNamespace(
        loop=asyncio.get_running_loop(),
        beacon=None,
        app=app,
        transport=SimpleNamespace(app=app),
        RebalanceListener=ElsConsumer.RebalanceListener,
    )

    thread = cast("Any", ElsConsumer)._new_consumer_thread(consumer)
    thread.thread_loop.close()

    assert type(thread.thread_loop) is asyncio.SelectorEventLoop
