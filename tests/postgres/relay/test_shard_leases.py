"""Shard leases: a fair number per relay, as long as the connection lasts; released only when nothing is in flight."""

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
PATIENT = replace(QUICK, deferral_initial_seconds=3600, deferral_max_seconds=3600)
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


async def test_one_relay_owns_all_shards_and_releases_half_for_a_second(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        async with running_leases(engine) as two:
            await until(
                lambda: (one.owned, two.owned, one.members, two.members) == (SHARD_COUNT // 2, SHARD_COUNT // 2, 2, 2)
            )
        await until(lambda: one.owned == SHARD_COUNT)


async def test_a_relay_that_stands_aside_leaves_all_shards_to_the_other_and_takes_part_again(
    engine: AsyncEngine,
) -> None:
    half = SHARD_COUNT // 2
    async with running_leases(engine, PATIENT) as one, running_leases(engine) as two:
        await until(lambda: (one.owned, two.owned) == (half, half))
        one.stand_aside()
        await until(lambda: (one.owned, two.owned, two.members) == (0, SHARD_COUNT, 1))
        one.stand_in()
        await until(lambda: (one.owned, two.owned, two.members) == (half, half, 2))


async def test_a_relay_that_stands_aside_takes_part_again_after_a_pause(engine: AsyncEngine) -> None:
    half = SHARD_COUNT // 2
    async with running_leases(engine) as one, running_leases(engine) as two:
        await until(lambda: (one.owned, two.owned) == (half, half))
        one.stand_aside()
        await until(lambda: two.owned == SHARD_COUNT)
        await until(lambda: (one.owned, two.owned) == (half, half))


async def test_a_relay_that_is_alone_keeps_its_shards_when_it_stands_aside(engine: AsyncEngine) -> None:
    async with running_leases(engine, PATIENT) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        one.stand_aside()
        async with running_leases(engine, PATIENT) as two:
            await until(lambda: (one.owned, two.owned) == (0, SHARD_COUNT))
        await until(lambda: one.owned == SHARD_COUNT)


async def test_a_shard_in_use_is_released_only_afterwards(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        lease = one.begin_poll()
        async with running_leases(engine) as two:
            await until(lambda: (one.members, two.members) == (2, 2))
            others_while_in_use = two.owned
            still_valid = one.is_valid(lease)
            one.release(lease, lease.shards, dirty=True)
            await until(lambda: (one.owned, two.owned) == (SHARD_COUNT // 2, SHARD_COUNT // 2))

    assert len(lease.shards) == SHARD_COUNT
    assert (others_while_in_use, still_valid) == (0, True)


async def test_shards_in_use_are_not_acquired_again(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        lease = one.begin_poll()
        again = one.begin_poll()
        one.release(lease, {1, 2, 3}, dirty=True)

        assert again.shards == set()
        assert one.begin_poll().shards == {1, 2, 3}


async def test_a_lost_connection_ends_every_lease_for_good(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        lease = one.begin_poll()
        async with engine.begin() as conn:
            await conn.execute(END, {"class": LOCK_CLASS})
        await until(lambda: not one.is_valid(lease))
        await until(lambda: one.owned == SHARD_COUNT)

        still_valid = one.is_valid(lease)
        acquired_while_in_use = one.begin_poll().shards
        one.release(lease, lease.shards, dirty=True)

        assert not still_valid
        assert acquired_while_in_use == set()
        assert len(one.begin_poll().shards) == SHARD_COUNT


async def test_a_silent_relay_stops_before_postgresql_releases_its_shards(engine: AsyncEngine) -> None:
    """It stops by its own clock."""
    silent = replace(QUICK, shard_check_interval_seconds=60, lease_seconds=0.3, session_idle_timeout_seconds=1.5)
    async with running_leases(engine, silent) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        lease = one.begin_poll()
        async with running_leases(engine) as two:
            await until(lambda: not one.is_valid(lease))
            owned_by_one, owned_by_two = one.owned, two.owned
            acquired = one.begin_poll().shards
            await until(lambda: two.owned > 0)

    assert (owned_by_one, owned_by_two) == (SHARD_COUNT, 0)
    assert acquired == set()


async def test_direct_shards_are_reserved_in_turn_and_once_at_a_time(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        reservations = [one.reserve() for _ in range(SHARD_COUNT - HASH_SHARDS)]
        one_too_many = one.reserve()
        acquired = one.begin_poll().shards

    reserved = [shard for lease in reservations if lease for shard in lease.shards]
    assert sorted(reserved) == list(range(HASH_SHARDS, SHARD_COUNT))
    assert one_too_many is None
    assert acquired == set(range(HASH_SHARDS))


async def test_a_released_shard_is_reserved_last(engine: AsyncEngine) -> None:
    """So a poll sees it first, with the rows that others have added meanwhile."""
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        first, second = one.reserve(), one.reserve()
        assert first is not None
        one.release(first, first.shards, dirty=True)
        rest = [one.reserve() for _ in range(SHARD_COUNT - HASH_SHARDS - 1)]

    assert second is not None
    assert rest[-1] is not None
    assert rest[-1].shards == first.shards


async def test_a_reservation_takes_its_shard_from_the_current_poll(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        await until(lambda: one.owned == SHARD_COUNT)
        poll = one.begin_poll()
        reserved = one.reserve()
        assert reserved is not None
        ours = one.end_poll(poll, {1} | reserved.shards)
        one.release(poll, reserved.shards, dirty=True)
        acquired = one.begin_poll().shards

    assert ours == {1}
    assert not acquired & ({1} | reserved.shards), "a reserved shard is in use until its own release"


async def test_nothing_is_reserved_without_a_lease(engine: AsyncEngine) -> None:
    async with running_leases(engine) as one:
        before = one.reserve()
        await until(lambda: one.owned == SHARD_COUNT)
    assert (before, one.reserve()) == (None, None)
