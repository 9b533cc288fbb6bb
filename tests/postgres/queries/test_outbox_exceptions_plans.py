"""Plans of the outbox's statements with the worst statistics: gathered while it was empty, before 50 000 rows came.

PostgreSQL counts the rows that the transaction's scans read. Each statement runs often enough that PostgreSQL changes
to a generic plan.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.config.settings import load_settings
from els_stream.embedded.servers import Addresses
from els_stream.queries import outbox_exceptions
from els_stream.queries.outbox_rows import SHARD_COUNT, FailedRow, WaitingRow
from els_stream.relay.factory import create_relay_engine

MANY = 50_000
ASKED = 1000
SOME = 2000
RUNS = 8
OUTBOXES = [
    pytest.param(1, False, id="one hot batch"),
    pytest.param(2000, False, id="many batches"),
    pytest.param(2000, True, id="many batches, emptied before"),
]
HOUR = timedelta(hours=1)

FILL = """
    INSERT INTO event_outbox (order_key, event_id, shard, sequence, topic, key, value, headers)
    SELECT 'batch ' || n % :keys, gen_random_uuid(), (n % :keys) % 64, n, 'huleedu.els.essay.slot.assigned.v1',
           convert_to('batch ' || n % :keys, 'UTF8'), convert_to(repeat('x', 800), 'UTF8'), '[]'
    FROM generate_series(1, :rows) AS n
"""
TOUCHED = """
    SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'event_outbox'
"""


@pytest.fixture
async def engine(addresses: Addresses, database: str) -> AsyncIterator[AsyncEngine]:
    """The relay's engine, whose sessions plan without bitmap scans."""
    engine = create_relay_engine(load_settings(broker_url=addresses.broker, database_url=database))
    yield engine
    await engine.dispose()


async def fill(engine: AsyncEngine, keys: int, *, emptied: bool = False) -> None:
    """Fill the outbox. If it was `emptied`, its statistics show empty pages: the planner expects one row."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        await conn.execute(text("ALTER TABLE event_outbox SET (autovacuum_enabled = false)"))
        if emptied:
            await conn.execute(text(FILL), {"rows": SOME, "keys": keys})
            await conn.execute(text("DELETE FROM event_outbox"))
        await conn.execute(text("VACUUM (ANALYZE, TRUNCATE off) event_outbox"))
        await conn.execute(text(FILL), {"rows": MANY, "keys": keys})


async def most_touched(engine: AsyncEngine, run: Callable[[AsyncConnection], Awaitable[object]]) -> int:
    """Return the rows that the most expensive of several runs on one connection read; roll each run back."""
    touched = []
    async with engine.connect() as conn:
        for _ in range(RUNS):
            before = int(await conn.scalar(text(TOUCHED)) or 0)
            await run(conn)
            touched.append(int(await conn.scalar(text(TOUCHED)) or 0) - before)
            await conn.rollback()
    return max(touched)


async def some_rows(engine: AsyncEngine, count: int) -> list[WaitingRow]:
    async with engine.connect() as conn:
        return await outbox_exceptions.fetch(conn, range(SHARD_COUNT), rows=count, size=2**30)


async def defer(conn: AsyncConnection, failed: Sequence[FailedRow]) -> None:
    await outbox_exceptions.schedule_retry(conn, failed, min_delay=HOUR, max_delay=HOUR)


@pytest.mark.parametrize(("keys", "emptied"), OUTBOXES)
async def test_a_fetch_touches_hardly_more_than_the_rows_it_returns(
    engine: AsyncEngine, keys: int, *, emptied: bool
) -> None:
    await fill(engine, keys, emptied=emptied)

    touched = await most_touched(
        engine, lambda conn: outbox_exceptions.fetch(conn, range(SHARD_COUNT), rows=ASKED, size=2**30)
    )

    assert ASKED <= touched <= ASKED + SHARD_COUNT, (
        f"{touched} rows for {ASKED}: a good plan stops where the limit does"
    )


async def test_deferred_rows_cost_a_fetch_only_the_rows_they_block(engine: AsyncEngine) -> None:
    await fill(engine, keys=2000)
    first_of_each = {row.order_key: row for row in reversed(await some_rows(engine, ASKED))}
    async with engine.begin() as conn:
        failed = [FailedRow(row, "too large") for row in first_of_each.values()]
        await defer(conn, failed)

    touched = await most_touched(
        engine, lambda conn: outbox_exceptions.fetch(conn, range(SHARD_COUNT), rows=ASKED, size=2**30)
    )

    # 25 rows of each deferred key, and for each of them the one row that is deferred.
    assert touched <= 2 * 25 * len(failed) + ASKED + SHARD_COUNT


@pytest.mark.parametrize(("keys", "emptied"), OUTBOXES)
async def test_deletes_and_deferrals_touch_only_their_rows(engine: AsyncEngine, keys: int, *, emptied: bool) -> None:
    await fill(engine, keys, emptied=emptied)
    rows = await some_rows(engine, ASKED)
    failed = [FailedRow(row, "too large") for row in rows]

    assert await most_touched(engine, lambda conn: outbox_exceptions.delete(conn, rows)) <= ASKED
    assert await most_touched(engine, lambda conn: defer(conn, failed)) <= ASKED
