"""Writing results back: segments are finished once, whoever does it and whatever fails meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.queries import outbox_segments
from els_stream.relay.batch_results import BatchResults, results_of
from els_stream.relay.dispatcher import Dispatcher
from els_stream.relay.key_order import Acked, KeyOrder, Rejected
from els_stream.relay.publish_batch import PublishBatch
from els_stream.relay.shard_leases import ShardLeases
from els_stream.relay.status import RelayHealth
from tests.support.dispatchers import NO_POLLS, next_batch
from tests.support.outbox_rows import commit, row

EXCEPTIONS = text("SELECT order_key, sequence, attempts FROM event_outbox ORDER BY position")
END_SESSION = text("SELECT pg_terminate_backend(pg_backend_pid())")


async def polled(engine: AsyncEngine, dispatcher: Dispatcher) -> PublishBatch:
    """Return a batch of two segments: one with two events of a refused key among others, and one without."""
    await commit(engine, [row("free", 1), row("refused", 1), row("other", 1), row("refused", 2)])
    await commit(engine, [row("third", 1)])
    return await next_batch(dispatcher)


def results(batch: PublishBatch, *, refused: bool) -> BatchResults:
    """Return what a relay writes back that has sent the batch."""
    order = KeyOrder(batch.rows)
    while runs := order.next_round():
        rows = [one for run in runs for one in run]
        order.apply_results(
            (one, Rejected("too large") if refused and one.order_key == "refused" else Acked())
            for one in rows
            if one.order_key != "refused" or not refused or one.sequence == 1
        )
    return results_of(batch, order)


async def exceptions(engine: AsyncEngine) -> list[tuple[str, int, int]]:
    async with engine.connect() as conn:
        return [(one.order_key, one.sequence, one.attempts) for one in await conn.execute(EXCEPTIONS)]


async def segments_left(engine: AsyncEngine) -> int:
    async with engine.connect() as conn:
        return len(await outbox_segments.read_all(conn))


@pytest.mark.parametrize(
    ("first_refused", "second_refused"), [(True, True), (True, False), (False, True), (False, False)]
)
async def test_a_relay_that_wakes_adds_nothing_to_what_another_has_finished(
    engine: AsyncEngine, dispatcher: Dispatcher, *, first_refused: bool, second_refused: bool
) -> None:
    """One relay froze with a batch; another one sent the same segments, and finished them first."""
    batch = await polled(engine, dispatcher)
    other = Dispatcher(
        engine, ShardLeases(engine, NO_POLLS, RelayHealth(), on_acquired=dispatcher.wake), NO_POLLS, RelayHealth()
    )

    await other.write_back(results(batch, refused=first_refused))
    await dispatcher.write_back(results(batch, refused=second_refused))

    assert await segments_left(engine) == 0
    assert await exceptions(engine) == ([("refused", 1, 1), ("refused", 2, 0)] if first_refused else [])


@pytest.mark.parametrize("statement", ["move_aside", "delete"])
@pytest.mark.parametrize("executed", [False, True])
async def test_writing_back_is_repeated_after_an_error_and_moves_nothing_twice(
    engine: AsyncEngine, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch, statement: str, *, executed: bool
) -> None:
    """The session ends before a statement, or after it, when its answer is on the way."""
    batch = await polled(engine, dispatcher)
    execute, failures = getattr(outbox_segments, statement), [1]

    async def fail_once(conn: AsyncConnection, *arguments: object) -> None:
        if executed or not failures:
            await execute(conn, *arguments)
        if failures:
            failures.pop()
            await conn.execute(END_SESSION)

    monkeypatch.setattr(outbox_segments, statement, fail_once)
    async with asyncio.timeout(10):
        await dispatcher.write_back(results(batch, refused=True))

    assert failures == []
    assert await segments_left(engine) == 0
    assert await exceptions(engine) == [("refused", 1, 1), ("refused", 2, 0)]
