"""The desk: what is handed over and what is fetched, each in its turn, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.queries import outbox
from els_stream.queries.direct_publish import enable_direct_publish
from els_stream.queries.outbox import put
from els_stream.queries.outbox_rows import HASH_SHARDS, SHARD_COUNT, OutboxRow, to_waiting_row
from els_stream.relay.dispatcher import Dispatcher
from els_stream.relay.health_counts import RelayHealth
from els_stream.relay.options import RelayOptions
from els_stream.relay.publish_batch import ShardReservation
from els_stream.relay.shard_leases import ShardLeases
from tests.support.outbox_rows import commit, left, row

# Nothing comes by polling.
PATIENT = RelayOptions(poll_seconds=3600, share_check_seconds=3600)


@pytest.fixture
async def desk(engine: AsyncEngine) -> AsyncIterator[Dispatcher]:
    """Its shards are all owned; nobody sends."""
    health = RelayHealth()
    taken = asyncio.Event()
    shards = ShardLeases(engine, PATIENT, health, changed=taken.set)
    task = asyncio.create_task(shards.keep())
    async with asyncio.timeout(10):
        await taken.wait()
    yield Dispatcher(engine, shards, PATIENT, health)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def loan_of(desk: Dispatcher) -> ShardReservation:
    loan = desk.lend()
    assert loan is not None
    return loan


async def write(engine: AsyncEngine, loan: ShardReservation, rows: list[OutboxRow]) -> None:
    async with engine.begin() as conn:
        await enable_direct_publish(conn, loan.shard)
        await put(conn, rows)


async def hand_over(desk: Dispatcher, engine: AsyncEngine, key: str) -> None:
    loan = loan_of(desk)
    rows = [row(key, 1)]
    await write(engine, loan, rows)
    desk.hand_over(loan, [to_waiting_row(one, loan.shard) for one in rows])


async def next_keys(desk: Dispatcher) -> set[str]:
    async with asyncio.timeout(5):
        work = await desk.next_work(on_idle=lambda: None)
    return {one.order_key for one in work.rows}


async def test_what_is_handed_over_and_what_waits_take_turns(engine: AsyncEngine, desk: Dispatcher) -> None:
    await commit(engine, [row("waits", 1)])
    for key in ("first", "second", "third"):
        await hand_over(desk, engine, key)

    given = [await next_keys(desk) for _ in range(4)]

    assert given[0] in ({"first"}, {"waits"})
    assert {"waits"} in given[:2], "neither keeps the other waiting"
    assert [keys for keys in given if keys != {"waits"}] == [{"first"}, {"second"}, {"third"}]


async def test_what_others_put_to_rows_in_flight_is_looked_at_when_these_are_gone(
    engine: AsyncEngine, desk: Dispatcher
) -> None:
    await next_look_is_over(desk)
    loan = loan_of(desk)
    await write(engine, loan, [row("shared", 1)])
    desk.hand_over(loan, [to_waiting_row(row("shared", 1), loan.shard)])
    work = await desk.next_work(on_idle=lambda: None)
    await commit(engine, [row("shared", 2)])
    desk.wake()
    await next_look_is_over(desk)

    await desk.write_back(work.rows, ())
    desk.finish(work, whole=True)

    async with asyncio.timeout(5):
        [follower] = (await desk.next_work(on_idle=lambda: None)).rows
    assert (follower.order_key, follower.shard) == ("shared", loan.shard)


async def test_a_desk_that_closes_gives_back_what_it_lent_and_leaves_the_rows(
    engine: AsyncEngine, desk: Dispatcher
) -> None:
    for key in ("one", "two"):
        await hand_over(desk, engine, key)
    late = loan_of(desk)
    await write(engine, late, [row("late", 1)])

    desk.close()
    desk.hand_over(late, [to_waiting_row(row("late", 1), late.shard)])

    await desk.all_finished(0)
    assert desk.lend() is None
    assert await left(engine) == 3
    assert await next_keys(desk) == {"one", "two", "late"}


async def test_a_key_whose_rows_wait_gets_the_next_ones_in_the_same_share(
    engine: AsyncEngine, desk: Dispatcher
) -> None:
    one, two = loan_of(desk), loan_of(desk)
    await write(engine, one, [row("here", 1)])
    await write(engine, two, [row("here", 2), row("there", 1)])
    await commit(engine, [row("there", 2), row("hashed", 1)])

    async with engine.connect() as conn:
        found = await outbox.fetch(conn, range(SHARD_COUNT), rows=10, size=2**20)

    shards = {(one.order_key, one.shard) for one in found}
    assert shards == {("here", one.shard), ("there", two.shard), ("hashed", outbox_rows.shard_of("hashed"))}
    assert outbox_rows.shard_of("hashed") < HASH_SHARDS <= min(one.shard, two.shard)


async def next_look_is_over(desk: Dispatcher) -> None:
    """And found nothing."""
    idle = asyncio.Event()
    waiting = asyncio.create_task(desk.next_work(on_idle=idle.set))
    async with asyncio.timeout(5):
        await idle.wait()
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
