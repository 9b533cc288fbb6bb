"""Owning shards: fairly, for as long as the connection lives, and handed over only when nothing is in flight."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.queries.outbox_rows import HASH_SHARDS, SHARD_COUNT
from els_stream.relay.options import RelayOptions
from els_stream.relay.shard_leases import LOCK_CLASS, ShardLeases
from els_stream.relay.status import RelayHealth
from els_stream.relay.supervision import supervise
from tests.support.waiting import until

QUICK = RelayOptions(
    shard_check_interval_seconds=0.05, lease_seconds=2, session_idle_timeout_seconds=3, retry_max_seconds=0.1
)
END = text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = :class")


@asynccontextmanager
async def running_leases(engine: AsyncEngine, options: RelayOptions = QUICK) -> AsyncIterator[ShardLeases]:
    health = RelayHealth()
    leases = ShardLeases(engine, options, health, on_acquired=lambda: None)
    task = asyncio.create_task(supervise("shards", leases.run, options, health.set_error))
    try:
        yield leases
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_one_relay_owns_all_and_gives_half_to_a_second(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        async with running_leases(engine) as two:
            await until(
                lambda: (one.owned, two.owned, one.members, two.members) == (SHARD_COUNT // 2, SHARD_COUNT // 2, 2, 2)
            )
        await until(lambda: one.owned == SHARD_COUNT)


async def test_a_share_in_flight_is_given_back_only_afterwards(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        lease = one.acquire()
        async with running_leases(engine) as two:
            await until(lambda: (one.members, two.members) == (2, 2))
            theirs_while_busy = two.owned
            still_held = one.is_valid(lease)
            one.release(lease, lease.shards)
            await until(lambda: (one.owned, two.owned) == (SHARD_COUNT // 2, SHARD_COUNT // 2))

    assert len(lease.shards) == SHARD_COUNT
    assert (theirs_while_busy, still_held) == (0, True)


async def test_what_is_in_flight_or_leaving_is_not_handed_out_again(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        lease = one.acquire()
        again = one.acquire()
        one.release(lease, {1, 2, 3})

        assert again.shards == set()
        assert one.acquire().shards == {1, 2, 3}


async def test_a_lost_connection_ends_every_tenure_at_once_and_for_good(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        lease = one.acquire()
        async with engine.begin() as conn:
            await conn.execute(END, {"class": LOCK_CLASS})
        await until(lambda: not one.is_valid(lease))
        await until(lambda: one.owned == SHARD_COUNT)

        still_held = one.is_valid(lease)
        in_flight_still = one.acquire().shards
        one.release(lease, lease.shards)

        assert not still_held
        assert in_flight_still == set()
        assert len(one.acquire().shards) == SHARD_COUNT


async def test_one_that_falls_silent_stops_by_its_own_clock_before_postgresql_gives_its_shares_away(
    engine: AsyncEngine,
) -> None:
    silent = replace(QUICK, shard_check_interval_seconds=60, lease_seconds=0.3, session_idle_timeout_seconds=1.5)
    async with running_leases(engine, silent) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        lease = one.acquire()
        async with running_leases(engine) as two:
            await until(lambda: not one.is_valid(lease))
            locks_then, theirs_then = one.owned, two.owned
            nothing_more = one.acquire().shards
            await until(lambda: two.owned > 0)

    assert (locks_then, theirs_then) == (SHARD_COUNT, 0)
    assert nothing_more == set()


async def test_a_share_to_lend_is_lent_in_turn_and_once_at_a_time(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        loans = [one.reserve() for _ in range(SHARD_COUNT - HASH_SHARDS)]
        one_too_many = one.reserve()
        looked_at = one.acquire().shards

    lent = [shard for loan in loans if loan for shard in loan.shards]
    assert sorted(lent) == list(range(HASH_SHARDS, SHARD_COUNT))
    assert one_too_many is None
    assert looked_at == set(range(HASH_SHARDS))


async def test_a_share_that_was_given_back_comes_last(engine: AsyncEngine) -> None:
    """So that what others put there meanwhile is looked at before."""
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        first, second = one.reserve(), one.reserve()
        assert first is not None
        one.release(first, first.shards)
        rest = [one.reserve() for _ in range(SHARD_COUNT - HASH_SHARDS - 1)]

    assert second is not None
    assert rest[-1] is not None
    assert rest[-1].shards == first.shards


async def test_a_look_does_without_what_is_lent_while_it_lasts(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        look = one.acquire()
        loan = one.reserve()
        assert loan is not None
        goes_on_with = one.poll_finished(look, {1} | loan.shards)
        one.release(look, loan.shards)
        then = one.acquire().shards

    assert goes_on_with == {1}
    assert not then & ({1} | loan.shards), "what was lent is busy until the loan is over, whatever the look says"


async def test_nothing_is_lent_without_a_lease(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        before = one.reserve()
        await until(lambda: one.owned == SHARD_COUNT)
    assert (before, one.reserve()) == (None, None)
