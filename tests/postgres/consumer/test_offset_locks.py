"""Who changes stored offsets beside a micro-batch waits for one row at a time, so neither waits for the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.consumer.offset_store import OffsetStore
from els_stream.kafka.offsets import OffsetRange, Partition, RecordFingerprint, Watermark
from els_stream.queries import consumed_offsets
from tests.support.waiting import until

GROUP = "group"
ONE, TWO = PARTITIONS = Partition("alpha", 0), Partition("alpha", 1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WAITS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
STORED = text("SELECT count(watermark_at) FROM consumed_offsets")

Change = Callable[[OffsetStore], Awaitable[object]]
CHANGES: list[Change] = [
    lambda store: store.store_watermarks(dict.fromkeys(PARTITIONS, Watermark(0, NOW, 0))),
    lambda store: store.reset(dict.fromkeys(PARTITIONS, (0, 0))),
    lambda store: store.adopt_topic_ids(PARTITIONS, {"alpha": UUID(int=1)}),
]


@pytest.mark.parametrize("change", CHANGES, ids=["watermarks", "reset", "topic ids"])
@pytest.mark.parametrize(("first", "second"), [(ONE, TWO), (TWO, ONE)], ids=["one first", "two first"])
async def test_a_change_of_two_rows_and_a_micro_batch_do_not_deadlock(
    engine: AsyncEngine, change: Change, first: Partition, second: Partition
) -> None:
    store = OffsetStore(engine, GROUP)
    await store.initialize(dict.fromkeys(PARTITIONS, 0))

    async def advance(partition: Partition) -> int:
        ranges = [OffsetRange(partition, 0, 1, RecordFingerprint(0, 0))]
        return await consumed_offsets.advance(micro_batch, GROUP, ranges)

    async def waits() -> bool:
        async with engine.connect() as conn:
            return bool(await conn.scalar(WAITS))

    async with engine.begin() as micro_batch:
        assert await advance(first) == 1
        changing = asyncio.ensure_future(change(store))
        await until(waits)

        assert await advance(second) == 1
    await changing


async def test_watermarks_of_locked_rows_are_stored_once_they_are_free(engine: AsyncEngine) -> None:
    store = OffsetStore(engine, GROUP)
    await store.initialize(dict.fromkeys(PARTITIONS, 0))
    async with engine.begin() as micro_batch:
        await consumed_offsets.advance(micro_batch, GROUP, [OffsetRange(TWO, 0, 1, RecordFingerprint(0, 0))])
        storing = asyncio.ensure_future(store.store_watermarks(dict.fromkeys(PARTITIONS, Watermark(0, NOW, 0))))

        async def one_is_stored() -> bool:
            async with engine.connect() as conn:
                return bool(await conn.scalar(STORED))

        await until(one_is_stored)
    await storing
    async with engine.connect() as conn:
        assert await conn.scalar(STORED) == 2
