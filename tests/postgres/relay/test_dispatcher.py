"""The dispatcher: what is handed over and what is fetched, each in its turn, and nothing left behind."""

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
from tests.support.outbox_rows import commit, left, row

# Nothing comes by polling.
PATIENT = RelayOptions(poll_interval_seconds=3600, shard_check_interval_seconds=3600)


@pytest.fixture
async def dispatcher(engine: AsyncEngine) -> AsyncIterator[Dispatcher]:
    """Its shards are all owned; nobody sends."""
    health = RelayHealth()
    acquired = asyncio.Event()
    leases = ShardLeases(engine, PATIENT, health, on_acquired=acquired.set)
    task = asyncio.create_task(leases.run())
    async with asyncio.timeout(10):
        await acquired.wait()
    yield Dispatcher(engine, leases, PATIENT, health)
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


async def test_what_is_handed_over_and_what_waits_take_turns(engine: AsyncEngine, dispatcher: Dispatcher) -> None:
    await commit(engine, [row("waits", 1)])
    for key in ("first", "second", "third"):
        await publish_directly(dispatcher, engine, key)

    given = [await next_keys(dispatcher) for _ in range(4)]

    assert given[0] in ({"first"}, {"waits"})
    assert {"waits"} in given[:2], "neither keeps the other waiting"
    assert [keys for keys in given if keys != {"waits"}] == [{"first"}, {"second"}, {"third"}]


async def test_what_others_put_to_rows_in_flight_is_looked_at_when_these_are_gone(
    engine: AsyncEngine, dispatcher: Dispatcher
) -> None:
    await next_look_is_over(dispatcher)
    reservation = reserve(dispatcher)
    await write(engine, reservation, [row("shared", 1)])
    dispatcher.enqueue_committed(reservation, [to_waiting_row(row("shared", 1), reservation.shard)])
    batch = await dispatcher.next_batch(on_idle=lambda: None)
    await commit(engine, [row("shared", 2)])
    dispatcher.wake()
    await next_look_is_over(dispatcher)

    await dispatcher.write_back(batch.rows, ())
    dispatcher.complete(batch, all_acked=True)

    async with asyncio.timeout(5):
        [follower] = (await dispatcher.next_batch(on_idle=lambda: None)).rows
    assert (follower.order_key, follower.shard) == ("shared", reservation.shard)


async def test_a_desk_that_closes_gives_back_what_it_lent_and_leaves_the_rows(
    engine: AsyncEngine, dispatcher: Dispatcher
) -> None:
    for key in ("one", "two"):
        await publish_directly(dispatcher, engine, key)
    late = reserve(dispatcher)
    await write(engine, late, [row("late", 1)])

    dispatcher.close()
    dispatcher.enqueue_committed(late, [to_waiting_row(row("late", 1), late.shard)])

    await dispatcher.wait_until_idle(0)
    assert dispatcher.reserve() is None
    assert await left(engine) == 3
    assert await next_keys(dispatcher) == {"one", "two", "late"}


async def test_a_key_whose_rows_wait_gets_the_next_ones_in_the_same_share(
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


async def next_look_is_over(dispatcher: Dispatcher) -> None:
    """And found nothing."""
    idle = asyncio.Event()
    waiting = asyncio.create_task(dispatcher.next_batch(on_idle=idle.set))
    async with asyncio.timeout(5):
        await idle.wait()
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
