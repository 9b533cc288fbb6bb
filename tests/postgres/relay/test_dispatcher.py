"""The dispatcher: direct batches and polls alternate, and no row is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.queries import outbox_segments
from els_stream.queries.direct_publish import WrittenSegment, enable_direct_publish
from els_stream.queries.outbox_rows import SHARD_COUNT, OutboxRow
from els_stream.queries.outbox_segments import MovedRow, Segment
from els_stream.relay.batch_results import BatchResults
from els_stream.relay.chains import MAX_BATCHES
from els_stream.relay.dispatcher import Dispatcher
from els_stream.relay.shards import Lease
from tests.support.dispatchers import NO_POLLS, dispatching, next_batch
from tests.support.outbox_rows import commit, put_rows, row, rows_left


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of segments that each fetch returned."""
    counts: list[int] = []
    fetch = outbox_segments.fetch

    async def counting_fetch(
        conn: AsyncConnection, shards: Sequence[int], *, events: int, size: int
    ) -> tuple[list[Segment], bool]:
        found = await fetch(conn, shards, events=events, size=size)
        counts.append(len(found[0]))
        return found

    monkeypatch.setattr(outbox_segments, "fetch", counting_fetch)
    return counts


def reserve(dispatcher: Dispatcher) -> Lease:
    reservation = dispatcher.reserve()
    assert reservation is not None
    return reservation


async def write(engine: AsyncEngine, reservation: Lease, rows: list[OutboxRow]) -> Sequence[WrittenSegment]:
    async with engine.begin() as conn:
        direct = await enable_direct_publish(conn, reservation.shard)
        await put_rows(conn, rows)
    return direct.segments


async def publish_directly(dispatcher: Dispatcher, engine: AsyncEngine, key: str) -> None:
    reservation = reserve(dispatcher)
    dispatcher.enqueue_committed(reservation, await write(engine, reservation, [row(key, 1)]))


async def next_keys(dispatcher: Dispatcher) -> set[str]:
    async with asyncio.timeout(5):
        batch = await dispatcher.next_batch(on_idle=lambda: None)
    return {one.order_key for one in batch.rows}


async def test_direct_batches_and_polls_alternate(engine: AsyncEngine, dispatcher: Dispatcher) -> None:
    await commit(engine, [row("waiting", 1)])
    for key in ("first", "second", "third"):
        await publish_directly(dispatcher, engine, key)

    batches = [await next_keys(dispatcher) for _ in range(4)]

    assert batches[0] in ({"first"}, {"waiting"})
    assert {"waiting"} in batches[:2], "neither delays the other"
    assert [keys for keys in batches if keys != {"waiting"}] == [{"first"}, {"second"}, {"third"}]


async def test_polls_come_at_their_interval_however_many_direct_batches_there_are(engine: AsyncEngine) -> None:
    """Rows that wait without a notification: deferred ones that are due, or all while the queue is full."""
    async with dispatching(engine, replace(NO_POLLS, poll_interval_seconds=0.1)) as dispatcher:
        await next_poll_is_over(dispatcher)
        await commit(engine, [row("waiting", 1)])
        async with asyncio.timeout(10):
            keys: set[str] = set()
            while "waiting" not in keys:
                await publish_directly(dispatcher, engine, "busy")
                batch = await dispatcher.next_batch(on_idle=lambda: None)
                keys = {one.order_key for one in batch.rows}
                await dispatcher.write_back(BatchResults(done=list(batch.segments)))
                dispatcher.complete(batch, all_acked=True)


async def test_rows_added_to_a_shard_in_use_are_fetched_when_its_batch_is_complete(
    engine: AsyncEngine, dispatcher: Dispatcher
) -> None:
    await next_poll_is_over(dispatcher)
    reservation = reserve(dispatcher)
    dispatcher.enqueue_committed(reservation, await write(engine, reservation, [row("shared", 1)]))
    batch = await dispatcher.next_batch(on_idle=lambda: None)
    await commit(engine, [row("shared", 2)])
    dispatcher.wake()
    await next_poll_is_over(dispatcher)

    await dispatcher.write_back(BatchResults(done=list(batch.segments)))
    dispatcher.complete(batch, all_acked=True)

    async with asyncio.timeout(5):
        [follower] = (await dispatcher.next_batch(on_idle=lambda: None)).rows
    assert (follower.order_key, follower.shard) == ("shared", reservation.shard)


async def test_closing_releases_reservations_and_leaves_their_rows(engine: AsyncEngine, dispatcher: Dispatcher) -> None:
    for key in ("one", "two"):
        await publish_directly(dispatcher, engine, key)
    late = reserve(dispatcher)
    written = await write(engine, late, [row("late", 1)])

    dispatcher.close()
    dispatcher.enqueue_committed(late, written)

    await dispatcher.wait_until_idle(0)
    assert dispatcher.reserve() is None
    assert await rows_left(engine) == 3
    assert await next_keys(dispatcher) == {"one", "two", "late"}


async def test_segments_that_follow_one_in_flight_are_published_from_memory(
    engine: AsyncEngine, dispatcher: Dispatcher, fetches: list[int]
) -> None:
    """Before the first one is complete, and just after it."""
    await next_poll_is_over(dispatcher)
    fetches.clear()
    first = reserve(dispatcher)
    dispatcher.enqueue_committed(first, await write(engine, first, [row("9b", 1)]))
    one = await next_batch(dispatcher)
    second, third = reserve(dispatcher), reserve(dispatcher)
    behind = await write(engine, second, [row("9b", 2), row("free", 1)])
    late = await write(engine, third, [row("9b", 3)])
    dispatcher.enqueue_committed(second, behind)

    dispatcher.complete(one, all_acked=True)
    two = await next_batch(dispatcher)
    dispatcher.complete(two, all_acked=True)
    dispatcher.enqueue_committed(third, late)
    three = await next_batch(dispatcher)

    batches = [[(event.order_key, event.sequence) for event in batch.rows] for batch in (one, two, three)]
    assert batches == [[("9b", 1)], [("free", 1), ("9b", 2)], [("9b", 3)]]
    assert {segment.shard for batch in (one, two, three) for segment in batch.segments} == {first.shard}
    assert fetches == []


async def test_nothing_follows_a_batch_that_was_not_acked_before_a_poll(
    engine: AsyncEngine, dispatcher: Dispatcher, fetches: list[int]
) -> None:
    await next_poll_is_over(dispatcher)
    fetches.clear()
    first = reserve(dispatcher)
    dispatcher.enqueue_committed(first, await write(engine, first, [row("9b", 1)]))
    one = await next_batch(dispatcher)
    second = reserve(dispatcher)
    dispatcher.enqueue_committed(second, await write(engine, second, [row("9b", 2)]))

    dispatcher.complete(one, all_acked=False)
    polled = await next_batch(dispatcher)

    assert [event.sequence for event in polled.rows] == [1, 2]
    assert len(fetches) == 1


async def test_a_chain_ends_so_that_a_poll_sees_its_shard(
    engine: AsyncEngine, dispatcher: Dispatcher, fetches: list[int]
) -> None:
    await next_poll_is_over(dispatcher)
    fetches.clear()
    first = reserve(dispatcher)
    dispatcher.enqueue_committed(first, await write(engine, first, [row("9b", 1)]))
    seen = []
    for sequence in range(2, MAX_BATCHES + 3):
        batch = await next_batch(dispatcher)
        seen.append((batch.rows[0].sequence, len(fetches)))
        reservation = reserve(dispatcher)
        dispatcher.enqueue_committed(reservation, await write(engine, reservation, [row("9b", sequence)]))
        await dispatcher.write_back(BatchResults(done=list(batch.segments)))
        dispatcher.complete(batch, all_acked=True)

    polled = await next_batch(dispatcher)

    assert seen == [(sequence, 0) for sequence in range(1, MAX_BATCHES + 2)]
    assert [event.sequence for event in polled.rows] == [MAX_BATCHES + 2]
    assert fetches == [1]


async def test_events_of_keys_with_exceptions_are_not_sent(engine: AsyncEngine, dispatcher: Dispatcher) -> None:
    await commit(engine, [row("refused", 1)])
    await commit(engine, [row("refused", 2), row("free", 1)])
    async with engine.begin() as conn:
        first, *_ = (await outbox_segments.fetch(conn, range(SHARD_COUNT), events=10, size=2**20))[0]
        moved = [MovedRow(first.position, first.rows[0], "too large")]
        await outbox_segments.move_aside(conn, [first], moved, timedelta(seconds=30))

    batch = await next_batch(dispatcher)

    assert [event.order_key for event in batch.rows] == ["free"]
    assert (batch.blocked, batch.size) == (frozenset({"refused"}), 2)


async def next_poll_is_over(dispatcher: Dispatcher) -> None:
    """Wait for the end of a poll that finds nothing."""
    idle = asyncio.Event()
    waiting = asyncio.create_task(dispatcher.next_batch(on_idle=idle.set))
    async with asyncio.timeout(5):
        await idle.wait()
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
