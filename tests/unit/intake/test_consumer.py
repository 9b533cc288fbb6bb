from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from els_stream.intake.consumer import LaneConsumer


async def drained(fetcher: SimpleNamespace) -> asyncio.Task[None]:
    """The fetcher's work, in the middle of a step, and then cancelled."""
    step = asyncio.Event()

    async def never_ends() -> None:
        step.set()
        await asyncio.Event().wait()

    consumer = SimpleNamespace(
        _stopped=asyncio.Event(), app=SimpleNamespace(should_stop=False), _intake=SimpleNamespace(step=never_ends)
    )
    task: asyncio.Task[None] = asyncio.create_task(cast("Any", LaneConsumer)._drain_messages(consumer, fetcher))
    await step.wait()
    task.cancel()
    await asyncio.wait([task])
    return task


async def test_a_fetcher_that_is_stopped_ends_in_order_also_while_the_group_rebalances() -> None:
    """Faust takes a cancellation in a rebalance for an order to restart, which crashes a worker that stops."""
    fetcher = SimpleNamespace(_stopped=asyncio.Event())
    fetcher._stopped.set()

    assert (await drained(fetcher)).exception() is None


async def test_a_fetcher_that_is_cancelled_otherwise_says_so() -> None:
    task = await drained(SimpleNamespace(_stopped=asyncio.Event()))

    with pytest.raises(asyncio.CancelledError):
        task.result()
