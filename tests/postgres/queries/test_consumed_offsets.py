"""Statements on stored offsets: compare-and-set, one order of locks, and no row advanced twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.db.errors import classify
from els_stream.kafka.offsets import OffsetRange, Partition, RecordFingerprint, StoredOffset, Watermark
from els_stream.postgres.connect import connect_once
from els_stream.queries import consumed_offsets
from tests.support.query_plans import work_of

GROUP = "group"
ONE, TWO = Partition("env.alpha", 0), Partition("env.alpha", 1)
FINGERPRINT = RecordFingerprint(1_700_000_000_000, 4_294_967_295)


@pytest.fixture
async def initialized(engine: AsyncEngine) -> AsyncEngine:
    async with engine.begin() as conn:
        await consumed_offsets.initialize(conn, GROUP, {ONE: 0, TWO: 5})
    return engine


async def rows(engine: AsyncEngine) -> dict[Partition, StoredOffset]:
    async with engine.begin() as conn:
        return await consumed_offsets.read(conn, GROUP, [ONE, TWO])


async def test_initial_offsets_are_read_back_and_stay(initialized: AsyncEngine) -> None:
    async with initialized.begin() as conn:
        await consumed_offsets.initialize(conn, GROUP, {ONE: 99})
    assert await rows(initialized) == {ONE: StoredOffset(0, None), TWO: StoredOffset(5, None)}


async def test_another_group_has_its_own_offsets(initialized: AsyncEngine) -> None:
    async with initialized.begin() as conn:
        assert await consumed_offsets.read(conn, "another", [ONE, TWO]) == {}


async def test_only_rows_at_the_start_of_their_range_advance(initialized: AsyncEngine) -> None:
    async with initialized.begin() as conn:
        ranges = [OffsetRange(ONE, 0, 10, FINGERPRINT), OffsetRange(TWO, 4, 10, FINGERPRINT)]
        assert await consumed_offsets.advance(conn, GROUP, ranges) == 1
    assert await rows(initialized) == {ONE: StoredOffset(10, FINGERPRINT), TWO: StoredOffset(5, None)}


async def test_a_recreated_topic_is_reset_once_without_fingerprint(initialized: AsyncEngine) -> None:
    async with initialized.begin() as conn:
        await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 0, 10, FINGERPRINT)])
        assert await consumed_offsets.reset(conn, GROUP, {ONE: (10, 2), TWO: (99, 2)}) == {ONE}
        assert await consumed_offsets.reset(conn, GROUP, {ONE: (10, 2)}) == set()
    assert await rows(initialized) == {ONE: StoredOffset(2, None), TWO: StoredOffset(5, None)}


async def test_a_topic_id_is_adopted_once_and_unknown_after_a_reset(initialized: AsyncEngine) -> None:
    async with initialized.begin() as conn:
        await consumed_offsets.adopt_topic_ids(conn, GROUP, [ONE], {ONE.topic: UUID(int=1)})
        await consumed_offsets.adopt_topic_ids(conn, GROUP, [ONE], {ONE.topic: UUID(int=2), "other": UUID(int=3)})
    assert await rows(initialized) == {ONE: StoredOffset(0, None, UUID(int=1)), TWO: StoredOffset(5, None)}

    async with initialized.begin() as conn:
        await consumed_offsets.reset(conn, GROUP, {ONE: (0, 0)})
    assert (await rows(initialized))[ONE].topic_id is None


@pytest.mark.parametrize("by_place", [False, True])
async def test_lock_waits_for_a_transaction_that_advances_the_row(initialized: AsyncEngine, *, by_place: bool) -> None:
    async def successor() -> int:
        known = places if by_place else {}
        async with initialized.begin() as conn:
            await consumed_offsets.lock(conn, GROUP, [OffsetRange(ONE, 10, 20, FINGERPRINT)], known)
            return await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 10, 20, FINGERPRINT)], known)

    places: consumed_offsets.Places = {}
    async with initialized.begin() as conn:
        await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 0, 5, FINGERPRINT)], places)
    async with initialized.begin() as conn:
        await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 5, 10, FINGERPRINT)], places)
        after = asyncio.create_task(successor())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(after), 0.3)
    assert await asyncio.wait_for(after, 2) == 1
    assert (await rows(initialized))[ONE].next_offset == 20


async def test_without_the_lock_a_successor_advances_nothing_at_once(initialized: AsyncEngine) -> None:
    async with initialized.begin() as first, initialized.connect() as second:
        await consumed_offsets.lock(first, GROUP, [OffsetRange(ONE, 0, 10, FINGERPRINT)], {})
        assert await consumed_offsets.advance(second, GROUP, [OffsetRange(ONE, 10, 20, FINGERPRINT)]) == 0
        await second.rollback()


async def test_of_several_owners_of_one_range_one_advances_the_row(initialized: AsyncEngine) -> None:
    async def owner() -> int:
        async with initialized.begin() as conn:
            return await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 0, 10, FINGERPRINT)])

    assert sorted(await asyncio.gather(*(owner() for _ in range(8)))) == [0] * 7 + [1]


async def test_locks_are_taken_in_one_order_whatever_the_order_of_the_caller(initialized: AsyncEngine) -> None:
    ranges = [OffsetRange(ONE, 0, 1, FINGERPRINT), OffsetRange(TWO, 5, 6, FINGERPRINT)]

    async def owner(number: int) -> None:
        for _ in range(20):
            async with initialized.begin() as conn:
                await consumed_offsets.lock(conn, GROUP, ranges if number % 2 else ranges[::-1], {})

    await asyncio.gather(*(owner(number) for number in range(8)))


async def test_a_place_is_only_a_hint(initialized: AsyncEngine) -> None:
    places: consumed_offsets.Places = {}
    async with initialized.connect() as conn:
        await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 0, 10, FINGERPRINT)], places)
        await conn.rollback()
    async with initialized.begin() as conn:
        await consumed_offsets.lock(conn, GROUP, [OffsetRange(ONE, 0, 10, FINGERPRINT)], places)
        assert await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 0, 10, FINGERPRINT)], places) == 1
    places[TWO] = places[ONE]
    async with initialized.begin() as conn:
        ranges = [OffsetRange(ONE, 10, 20, FINGERPRINT), OffsetRange(TWO, 5, 6, FINGERPRINT)]
        await consumed_offsets.lock(conn, GROUP, ranges, places)
        assert await consumed_offsets.advance(conn, GROUP, ranges, places) == 2

    assert {tp: row.next_offset for tp, row in (await rows(initialized)).items()} == {ONE: 20, TWO: 6}


async def test_a_row_at_its_place_advances_only_from_the_start_of_its_range(initialized: AsyncEngine) -> None:
    places: consumed_offsets.Places = {}
    async with initialized.begin() as conn:
        await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 0, 10, FINGERPRINT)], places)
        assert await consumed_offsets.advance(conn, GROUP, [OffsetRange(ONE, 0, 10, FINGERPRINT)], places) == 0
        assert await consumed_offsets.advance(conn, "another", [OffsetRange(ONE, 10, 11, FINGERPRINT)], places) == 0


async def test_a_row_at_its_place_costs_the_same_beside_a_long_snapshot(
    database: str, initialized: AsyncEngine
) -> None:
    places: consumed_offsets.Places = {}
    offset = 0

    async def next_micro_batch(conn: AsyncConnection) -> None:
        ranges = [OffsetRange(ONE, offset, offset + 1, FINGERPRINT)]
        await consumed_offsets.lock(conn, GROUP, ranges, places)
        await consumed_offsets.advance(conn, GROUP, ranges, places)

    async def pages() -> int:
        kept = dict(places)
        try:
            return (await work_of(initialized, next_micro_batch)).pages
        finally:
            places.update(kept)

    other = await connect_once(database)
    counted = []
    try:
        async with other.transaction(isolation="repeatable_read"):
            await other.fetch("SELECT FROM consumed_offsets")
            for last in (10, 1000):
                while offset < last:
                    async with initialized.begin() as conn:
                        await next_micro_batch(conn)
                    offset += 1
                counted.append(await pages())
            places.clear()
            by_key = await pages()
    finally:
        await other.close()
    few, many = counted
    assert many <= few + 2
    assert by_key > 2 * many


async def test_a_watermark_is_stored_only_if_the_row_reached_its_offset(initialized: AsyncEngine) -> None:
    async with initialized.begin() as conn:
        now = await consumed_offsets.database_time(conn)
        await consumed_offsets.store_watermarks(conn, GROUP, {ONE: Watermark(1, now, 1), TWO: Watermark(4, now, 4)})
        stored = await conn.exec_driver_sql("SELECT partition FROM consumed_offsets WHERE watermark_at IS NOT NULL")
        assert stored.scalars().all() == [1]


async def test_a_watermark_ahead_is_removed_and_the_true_one_is_stored(initialized: AsyncEngine) -> None:
    async with initialized.begin() as conn:
        now = await consumed_offsets.database_time(conn)
        ahead = now + timedelta(days=3)
        await consumed_offsets.store_watermarks(conn, GROUP, {ONE: Watermark(0, ahead, 0), TWO: Watermark(5, now, 5)})
        assert await consumed_offsets.remove_watermarks_ahead(conn, GROUP) == {ONE}
        await consumed_offsets.store_watermarks(conn, GROUP, {ONE: Watermark(0, now, 0)})
        stored = await conn.exec_driver_sql("SELECT watermark_at FROM consumed_offsets")
        assert stored.scalars().all() == [now, now]


async def test_how_far_a_partition_was_read_only_grows_and_is_unknown_after_a_reset(initialized: AsyncEngine) -> None:
    async with initialized.begin() as conn:
        now = await consumed_offsets.database_time(conn)
        assert await consumed_offsets.read_until(conn, GROUP) == {ONE: 0, TWO: 5}
        for minute, offset in enumerate((3, 7, 6)):
            later = now + timedelta(minutes=minute)
            await consumed_offsets.store_watermarks(conn, GROUP, {ONE: Watermark(0, later, offset)})
        assert await consumed_offsets.read_until(conn, GROUP) == {ONE: 7, TWO: 5}
        assert (await consumed_offsets.read(conn, GROUP, [ONE]))[ONE].read_until == 7
        await consumed_offsets.reset(conn, GROUP, {ONE: (0, 2)})
        assert await consumed_offsets.read_until(conn, GROUP) == {ONE: 2, TWO: 5}


async def test_the_database_rejects_a_negative_offset(engine: AsyncEngine) -> None:
    with pytest.raises(DBAPIError) as refused:
        async with engine.begin() as conn:
            await consumed_offsets.initialize(conn, GROUP, {ONE: -1})
    assert classify(refused.value).cause == "23514 ck_consumed_offsets_next_offset_not_negative"
