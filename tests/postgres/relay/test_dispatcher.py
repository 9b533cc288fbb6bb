"""The dispatcher: direct batches and polls alternate, and no row is missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.queries import outbox
from els_stream.queries.direct_publish import enable_direct_publish
from els_stream.queries.outbox import put
from els_stream.queries.outbox_rows import HASH_SHARDS, SHARD_COUNT, OutboxRow, shard_of, to_waiting_row
from els_stream.relay.dispatcher import Dispatcher
from els_stream.relay.options import RelayOptions
from els_stream.relay.publish_batch import ShardReservation
from els_stream.relay.shard_leases import ShardLeases
from els_stream.relay.status import RelayHealth
from tests.support.outbox_rows import commit, row, rows_left

# No poll is due by itself.
NO_POLLS = RelayOptions(poll_interval_seconds=3600, shard_check_interval_seconds=3600)


@pytest.fixture
async def dispatcher(engine: AsyncEngine) -> AsyncIterator[Dispatcher]:
    """A dispatcher that owns all shards, without publishers."""
    health = RelayHealth()
    acquired = asyncio.Event()
    leases = ShardLeases(engine, NO_POLLS, health, on_acquired=acquired.set)
    task = asyncio.create_task(leases.run())
    async with asyncio.timeout(10):
        await acquired.wait()
    yield Dispatcher(engine, leases, NO_POLLS, health)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def reserve(dispatcher: Dispatcher) -> ShardReservation:
    reservation = dispatcher.reserve()
    assert reservation is not None
    return reservation


async def write(engine: AsyncEngine, reservation: ShardReservation, rows: list[OutboxRow]) -> None:
    async with engine.begin() as conn:
        await enable_direct_publish(conn, reservation.shard)
        await put(conn, rows)


async def publish_directly(dispatcher: Dispatcher, engine: AsyncEngine, key: str) -> None:
    reservation = reserve(dispatcher)
    rows = [row(key, 1)]
    await write(engine, reservation, rows)
    dispatcher.enqueue_committed(reservation, [to_waiting_row(one, reservation.shard) for one in rows])


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


async def test_rows_added_to_a_shard_in_use_are_fetched_when_its_batch_is_complete(
    engine: AsyncEngine, dispatcher: Dispatcher
) -> None:
    await next_poll_is_over(dispatcher)
    reservation = reserve(dispatcher)
    await write(engine, reservation, [row("shared", 1)])
    dispatcher.enqueue_committed(reservation, [to_waiting_row(row("shared", 1), reservation.shard)])
    batch = await dispatcher.next_batch(on_idle=lambda: None)
    await commit(engine, [row("shared", 2)])
    dispatcher.wake()
    await next_poll_is_over(dispatcher)

    await dispatcher.write_back(batch.rows, ())
    dispatcher.complete(batch, all_acked=True)

    async with asyncio.timeout(5):
        [follower] = (await dispatcher.next_batch(on_idle=lambda: None)).rows
    assert (follower.order_key, follower.shard) == ("shared", reservation.shard)


async def test_closing_releases_reservations_and_leaves_their_rows(engine: AsyncEngine, dispatcher: Dispatcher) -> None:
    for key in ("one", "two"):
        await publish_directly(dispatcher, engine, key)
    late = reserve(dispatcher)
    await write(engine, late, [row("late", 1)])

    dispatcher.close()
    dispatcher.enqueue_committed(late, [to_waiting_row(row("late", 1), late.shard)])

    await dispatcher.wait_until_idle(0)
    assert dispatcher.reserve() is None
    assert await rows_left(engine) == 3
    assert await next_keys(dispatcher) == {"one", "two", "late"}


async def test_later_rows_of_a_key_go_to_the_shard_of_its_waiting_rows(
    engine: AsyncEngine, dispatcher: Dispatcher
) -> None:
    one, two = reserve(dispatcher), reserve(dispatcher)
    await write(engine, one, [row("here", 1)])
    await write(engine, two, [row("here", 2), row("there", 1)])
    await commit(engine, [row("there", 2), row("hashed", 1)])

    async with engine.connect() as conn:
        found = await outbox.fetch(conn, range(SHARD_COUNT), rows=10, size=2**20)

    shards = {(one.order_key, one.shard) for one in found}
    assert shards == {("here", one.shard), ("there", two.shard), ("hashed", shard_of("hashed"))}
    assert shard_of("hashed") < HASH_SHARDS <= min(one.shard, two.shard)


async def next_poll_is_over(dispatcher: Dispatcher) -> None:
    """Wait for the end of a poll that finds nothing."""
    idle = asyncio.Event()
    waiting = asyncio.create_task(dispatcher.next_batch(on_idle=idle.set))
    async with asyncio.timeout(5):
        await idle.wait()
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
