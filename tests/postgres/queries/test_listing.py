"""What a person looks through: pages that are whole, in order and cheap, also among 50 000 others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.queries.dashboard import read_dashboard
from els_stream.queries.dead_letter_admin import DeadLetterFilter, newest
from els_stream.queries.listing import BatchFilter, newest_batches

MANY = 50_000
PAGE = 50
RUNS = 8
SOME_BATCHES = [
    BatchFilter(),
    BatchFilter(state="open"),
    BatchFilter(state="purged"),
    BatchFilter(class_type="REGULAR"),
    BatchFilter(state="unregistered"),
    BatchFilter(older_than=timedelta(hours=6)),
]
SOME_LETTERS = [
    DeadLetterFilter(),
    DeadLetterFilter(state="open"),
    DeadLetterFilter(reason="too_deep"),
    DeadLetterFilter(state="discarded"),
    DeadLetterFilter(batch_id="batch 7"),
]

# Two of each thousand were made in the same instant; four in a hundred thousand are of the rarest kind.
FILL = """
    INSERT INTO batch_essay_trackers (
        batch_id, state, class_type, inventory, registration_digest, course_code, user_id, correlation_id,
        expected_count, filled_count, free_count, deadline_at, registered_at, content_completed_at, completed_at,
        created_at
    )
    SELECT 'batch ' || n, state, CASE WHEN state <> 'unregistered' THEN class_type END, 'essay_states', 'digest',
           'ENG6', 'ms-frizzle', gen_random_uuid(), CASE WHEN state <> 'unregistered' THEN 1 END,
           CASE WHEN state = 'completed' THEN 1 ELSE 0 END, CASE WHEN state = 'open' THEN 1 ELSE 0 END,
           now(), CASE WHEN state <> 'unregistered' THEN now() END, CASE WHEN state = 'completed' THEN now() END,
           CASE WHEN state = 'completed' THEN now() END, now() - make_interval(secs => n / 2)
    FROM (
        SELECT n, CASE n % 1000 WHEN 0 THEN 'unregistered' WHEN 1 THEN 'open' ELSE 'completed' END AS state,
               CASE WHEN n % 25000 = 1 THEN 'REGULAR' ELSE 'GUEST' END AS class_type
        FROM generate_series(0, :rows - 1) AS n
    ) made
"""
FILL_LETTERS = """
    INSERT INTO dead_letters (batch_id, reason, message, source_topic, source_partition, source_offset,
                              source_timestamp, value_size, value_sha256, headers, state, resolved_at)
    SELECT 'batch ' || n % 1000, CASE WHEN n % 10000 = 1 THEN 'too_deep' ELSE 'not_json' END, 'Dear orchestrator,',
           'topic', 0, n, 0, 1, 'hash', '[]', CASE WHEN n % 10000 = 0 THEN 'open' ELSE 'replayed' END,
           CASE WHEN n % 10000 <> 0 THEN now() END
    FROM generate_series(0, :rows - 1) AS n
"""
TOUCHED = """
    SELECT CAST(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) AS bigint) FROM pg_stat_xact_user_tables
    WHERE relname IN ('batch_essay_trackers', 'dead_letters', 'essay_states')
"""


async def fill(engine: AsyncEngine, rows: int = MANY) -> None:
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        await conn.execute(text("VACUUM ANALYZE"))
        await conn.execute(text(FILL), {"rows": rows})
        await conn.execute(text(FILL_LETTERS), {"rows": rows})


async def most_touched(engine: AsyncEngine, run: Callable[[AsyncConnection], Awaitable[object]]) -> int:
    """Of several runs on one connection, so that also a plan that knows no parameters is seen."""
    touched = []
    async with engine.connect() as conn:
        for _ in range(RUNS):
            before = int(await conn.scalar(text(TOUCHED)) or 0)
            await run(conn)
            touched.append(int(await conn.scalar(text(TOUCHED)) or 0) - before)
            await conn.rollback()
    return max(touched)


async def pages(engine: AsyncEngine, chosen: BatchFilter, size: int) -> list[str]:
    found: list[str] = []
    async with engine.connect() as conn:
        before = None
        while lines := await newest_batches(conn, chosen, size, before):
            found += [line.batch_id for line in lines]
            before = lines[-1].created_at, lines[-1].batch_id
    return found


async def test_pages_together_hold_every_batch_once_the_newest_first(engine: AsyncEngine) -> None:
    await fill(engine, 3000)
    async with engine.connect() as conn:
        rows = await conn.execute(
            text("SELECT batch_id FROM batch_essay_trackers ORDER BY created_at DESC, batch_id DESC")
        )
        everything = list(rows.scalars())

    assert await pages(engine, BatchFilter(), 7) == everything


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (BatchFilter(state="unregistered"), ["batch 0", "batch 1000", "batch 2000"]),
        (BatchFilter(state="open", class_type="GUEST"), ["batch 1001", "batch 2001"]),
        (BatchFilter(class_type="REGULAR"), ["batch 1"]),
        (BatchFilter(state="open", younger_than=timedelta(seconds=600)), ["batch 1", "batch 1001"]),
        (BatchFilter(state="open", older_than=timedelta(seconds=600)), ["batch 2001"]),
        (BatchFilter(state="purged"), []),
    ],
    ids=str,
)
async def test_filters_leave_what_they_name(engine: AsyncEngine, chosen: BatchFilter, expected: list[str]) -> None:
    await fill(engine, 3000)

    assert await pages(engine, chosen, 2) == expected


async def test_a_page_touches_a_page_of_each_kind_at_most(engine: AsyncEngine) -> None:
    await fill(engine)
    async with engine.connect() as conn:
        middle = (await newest_batches(conn, BatchFilter(), 1))[0].created_at - timedelta(hours=3)

    touched: dict[object, int] = {}
    for batches in SOME_BATCHES:
        find = partial(newest_batches, filters=batches, limit=PAGE, before=(middle, ""))
        touched[batches] = await most_touched(engine, find)
    for letters in SOME_LETTERS:
        touched[letters] = await most_touched(engine, partial(newest, filters=letters, limit=PAGE, before=MANY // 2))

    assert {chosen: rows for chosen, rows in touched.items() if rows > 9 * PAGE} == {}


async def test_dead_letters_are_found_by_what_they_are(engine: AsyncEngine) -> None:
    await fill(engine, 20_002)

    async with engine.connect() as conn:
        unread = await newest(conn, DeadLetterFilter(state="open"), 10)
        deep = await newest(conn, DeadLetterFilter(reason="too_deep"), 10)
        older = await newest(conn, DeadLetterFilter(), 1, before=deep[0].id)
        one = await newest(conn, DeadLetterFilter(reason="too_deep", batch_id="batch 1"), 1)

    assert [letter.offset for letter in unread] == [20_000, 10_000, 0]
    assert [letter.offset for letter in deep] == [20_001, 10_001, 1]
    assert older[0].id == deep[0].id - 1
    assert [letter.offset for letter in one] == [20_001]


async def test_a_glance_reads_the_slots_of_what_completed_just_now_only(engine: AsyncEngine) -> None:
    await fill(engine)
    async with engine.connect() as conn:
        first = await read_dashboard(conn, "group", None)

    assert (first.completed, first.waited_seconds) == (0, None)
    assert await most_touched(engine, lambda conn: read_dashboard(conn, "group", first.read_at)) == 0
