"""Pages of batches and dead letters: complete, in order, and cheap among 50 000 others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.queries.dashboard import read_dashboard
from els_stream.queries.dead_letter_admin import DeadLetterFilter, count_and_last_id, list_ids, newest
from els_stream.queries.dead_letter_groups import read_groups
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
SOME_DEAD_LETTERS = [
    DeadLetterFilter(),
    DeadLetterFilter(state="open"),
    DeadLetterFilter(reason="too_deep"),
    DeadLetterFilter(state="discarded"),
    DeadLetterFilter(batch_id="batch 7"),
    DeadLetterFilter(topic="topic", older_than=timedelta(0)),
]

# Two batches of each thousand have the same time; the rarest kind is four in a hundred thousand.
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
FILL_DEAD_LETTERS = """
    INSERT INTO dead_letters (batch_id, reason, message, source_topic, source_partition, source_offset,
                              source_timestamp, value_size, value_sha256, headers, state, resolved_at)
    SELECT 'batch ' || n % 1000, CASE WHEN n % 10000 = 1 THEN 'too_deep' ELSE 'not_json' END, 'Dear orchestrator,',
           'topic', 0, n, 0, 1, 'hash', '[]', CASE WHEN n % 10000 = 0 THEN 'open' ELSE 'replayed' END,
           CASE WHEN n % 10000 <> 0 THEN now() END
    FROM generate_series(0, :rows - 1) AS n
"""
ROWS_READ = """
    SELECT CAST(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) AS bigint) FROM pg_stat_xact_user_tables
    WHERE relname IN ('batch_essay_trackers', 'dead_letters', 'essay_states')
"""


async def fill(engine: AsyncEngine, rows: int = MANY) -> None:
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        await conn.execute(text("VACUUM ANALYZE"))
        await conn.execute(text(FILL), {"rows": rows})
        await conn.execute(text(FILL_DEAD_LETTERS), {"rows": rows})


async def most_rows_read(engine: AsyncEngine, run: Callable[[AsyncConnection], Awaitable[object]]) -> int:
    """Return the most that one of several runs on a connection reads; later runs may use a generic plan."""
    rows_read = []
    async with engine.connect() as conn:
        for _ in range(RUNS):
            before = int(await conn.scalar(text(ROWS_READ)) or 0)
            await run(conn)
            rows_read.append(int(await conn.scalar(text(ROWS_READ)) or 0) - before)
            await conn.rollback()
    return max(rows_read)


async def pages(engine: AsyncEngine, chosen: BatchFilter, size: int) -> list[str]:
    found: list[str] = []
    async with engine.connect() as conn:
        before = None
        while page := await newest_batches(conn, chosen, size, before):
            found += [batch.batch_id for batch in page]
            before = page[-1].created_at, page[-1].batch_id
    return found


async def test_all_pages_together_list_every_batch_once_newest_first(engine: AsyncEngine) -> None:
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
async def test_filters_select_matching_batches(engine: AsyncEngine, chosen: BatchFilter, expected: list[str]) -> None:
    await fill(engine, 3000)

    assert await pages(engine, chosen, 2) == expected


@pytest.mark.parametrize("statistics", ["outdated", "current"])
async def test_a_page_reads_at_most_one_page_of_each_kind(engine: AsyncEngine, statistics: str) -> None:
    await fill(engine)
    async with engine.begin() as conn:
        if statistics == "current":
            await conn.execute(text("ANALYZE"))
        middle = (await newest_batches(conn, BatchFilter(), 1))[0].created_at - timedelta(hours=3)

    rows_read: dict[object, int] = {}
    for batches in SOME_BATCHES:
        find = partial(newest_batches, filters=batches, limit=PAGE, before=(middle, ""))
        rows_read[batches] = await most_rows_read(engine, find)
    for filters in SOME_DEAD_LETTERS:
        rows_read[filters] = await most_rows_read(
            engine, partial(newest, filters=filters, limit=PAGE, before=MANY // 2)
        )
        find_ids = partial(list_ids, filters=filters, after=MANY // 2, last=MANY, limit=PAGE)
        rows_read["ids", filters] = await most_rows_read(engine, find_ids)
    rows_read["groups"] = await most_rows_read(engine, read_groups)

    assert {chosen: rows for chosen, rows in rows_read.items() if rows > 9 * PAGE} == {}


async def test_dead_letters_are_found_by_state_reason_topic_and_batch(engine: AsyncEngine) -> None:
    await fill(engine, 20_002)

    async with engine.connect() as conn:
        unresolved = await newest(conn, DeadLetterFilter(state="open"), 10)
        deep = await newest(conn, DeadLetterFilter(reason="too_deep"), 10)
        older = await newest(conn, DeadLetterFilter(), 1, before=deep[0].id)
        one = await newest(conn, DeadLetterFilter(reason="too_deep", batch_id="batch 1"), 1)

    assert [found.offset for found in unresolved] == [20_000, 10_000, 0]
    assert [found.offset for found in deep] == [20_001, 10_001, 1]
    assert older[0].id == deep[0].id - 1
    assert [found.offset for found in one] == [20_001]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (DeadLetterFilter(), 2_000),
        (DeadLetterFilter(state="open"), 1),
        (DeadLetterFilter(reason="too_deep"), 1),
        (DeadLetterFilter(batch_id="batch 7"), 2),
        (DeadLetterFilter(topic="topic", younger_than=timedelta(days=1)), 2_000),
        (DeadLetterFilter(topic="another topic"), 0),
        (DeadLetterFilter(older_than=timedelta(days=1)), 0),
        (DeadLetterFilter(batch_id="batch 7", state="open"), 0),
    ],
    ids=str,
)
async def test_counting_and_listing_dead_letters_agree(
    engine: AsyncEngine, filters: DeadLetterFilter, expected: int
) -> None:
    await fill(engine, 2_000)

    async with engine.connect() as conn:
        count, last = await count_and_last_id(conn, filters)
        ids = await list_ids(conn, filters, after=0, last=last, limit=5_000)
        page = await newest(conn, filters, 5_000)
        rest = await list_ids(conn, filters, after=ids[0] if ids else 0, last=last - 1, limit=5_000)

    assert (count, len(ids), last) == (expected, expected, max(ids, default=0))
    assert ids == sorted(ids)
    assert [found.id for found in page] == ids[::-1]
    assert rest == ids[1:-1]


async def test_dead_letters_with_a_reason_of_a_newer_release_are_listed(engine: AsyncEngine) -> None:
    await fill(engine, 2_000)
    async with engine.begin() as conn:
        await conn.execute(text("UPDATE dead_letters SET reason = 'written_backwards' WHERE source_offset % 100 = 7"))
        everything = list((await conn.execute(text("SELECT id FROM dead_letters ORDER BY id"))).scalars())

        assert await count_and_last_id(conn, DeadLetterFilter()) == (2_000, everything[-1])
        assert await list_ids(conn, DeadLetterFilter(), after=0, last=everything[-1], limit=5_000) == everything
        assert [found.id for found in await newest(conn, DeadLetterFilter(), 5_000)] == everything[::-1]
        of_batch = await newest(conn, DeadLetterFilter(batch_id="batch 7"), 10)

    assert [found.reason for found in of_batch] == ["written_backwards", "written_backwards"]


async def test_a_dashboard_snapshot_reads_slots_only_of_new_completions(engine: AsyncEngine) -> None:
    await fill(engine)
    async with engine.connect() as conn:
        first = await read_dashboard(conn, "group", None)

    assert (first.completed, first.waited_seconds) == (0, None)
    assert await most_rows_read(engine, lambda conn: read_dashboard(conn, "group", first.read_at)) == 0
