"""Purge: old finished batches are removed whole, all others stay, and the log records it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.settings import Settings
from els_stream.db.engine import Limits, create_engine
from els_stream.domain.purge_results import AnotherPurgeRuns, Purged, PurgeResult, Removed
from els_stream.maintenance import purge
from els_stream.maintenance.purge import PurgePlan, Retention, apply_retention
from els_stream.queries.purge import BEFORE_ALL, lock_oldest
from tests.support.batch_harness import BatchHarness
from tests.support.finished_batches import add_completed_batch, add_old_batches, all_rows, find_violations, make_older

GUESTS = "a-guest-batch"
CLASS = "a-class-of-9b"
PURGED = "SELECT batch_id FROM batch_essay_trackers WHERE state = 'purged' ORDER BY batch_id"
ROWS_READ = """
    SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
    WHERE relname = 'batch_essay_trackers'
"""


@pytest.fixture
async def harness(engine: AsyncEngine) -> AsyncIterator[BatchHarness]:
    yield BatchHarness(engine=engine)
    assert await find_violations(engine) == []


async def run_purge(harness: BatchHarness, plan: PurgePlan) -> PurgeResult:
    return await purge.purge_guests(harness.engine, plan, stop=asyncio.Event(), progress=lambda _: None)


async def test_an_old_guest_batch_leaves_its_tombstone_without_personal_data(harness: BatchHarness) -> None:
    await add_completed_batch(harness, GUESTS)
    await make_older(harness, GUESTS, 15)

    result = await run_purge(harness, PurgePlan(14))

    assert result == Purged(Removed(batches=1, essay_states=2, validation_failures=1, excess_content=1, dead_letters=1))
    tombstone = await harness.tracker(GUESTS)
    assert (tombstone.state, tombstone.class_type, tombstone.expected_count) == ("purged", "GUEST", 2)
    assert (tombstone.user_id, tombstone.org_id, tombstone.class_id, tombstone.student_prompt_ref) == (None,) * 4
    (dead_letter,) = await harness.rows("SELECT * FROM dead_letters")
    assert (dead_letter.reason, dead_letter.value, dead_letter.key, len(dead_letter.value_sha256)) == (
        "upload_already_provisioned",
        None,
        None,
        32,
    )
    (record,) = await harness.rows("SELECT * FROM purge_log")
    assert (record.action, record.class_type, record.batches, record.removed["essay_states"]) == (
        "purge",
        "GUEST",
        1,
        2,
    )


async def test_young_regular_and_unfinished_batches_stay(harness: BatchHarness) -> None:
    await add_completed_batch(harness, GUESTS)
    await make_older(harness, GUESTS, 13)
    await add_completed_batch(harness, CLASS, class_id="9b")
    await make_older(harness, CLASS, 400)
    await harness.together(harness.registration("a-lazy-batch", essays=1))

    assert await run_purge(harness, PurgePlan(14)) == Purged(Removed())
    assert (await harness.tracker(GUESTS)).state == "completed"


async def test_a_batch_with_unsent_events_stays_until_they_are_sent(harness: BatchHarness) -> None:
    await harness.together(harness.registration(GUESTS, essays=1))
    await harness.together(harness.content(0, GUESTS))
    await make_older(harness, GUESTS, 15)
    assert await run_purge(harness, PurgePlan(14, chunk=1)) == Purged(Removed())

    await harness.empty_outbox()

    assert await run_purge(harness, PurgePlan(14, chunk=1)) == Purged(Removed(batches=1, essay_states=1))


async def test_a_locked_batch_is_left_for_the_next_run(harness: BatchHarness) -> None:
    await add_completed_batch(harness, GUESTS)
    await make_older(harness, GUESTS, 15)
    async with harness.engine.begin() as other:
        await harness.apply(other, [harness.content(0, GUESTS)])

        assert await run_purge(harness, PurgePlan(14)) == Purged(Removed())

    result = await run_purge(harness, PurgePlan(14))
    assert isinstance(result, Purged)
    assert result.removed.batches == 1


async def test_a_dry_run_counts_the_same_and_changes_nothing(harness: BatchHarness) -> None:
    await add_completed_batch(harness, GUESTS)
    await make_older(harness, GUESTS, 15)
    before = await all_rows(harness)

    async with harness.engine.connect() as conn:
        counted = await purge.count_guests(conn, 14)

    assert await all_rows(harness) == before
    assert await run_purge(harness, PurgePlan(14)) == Purged(counted)


async def test_a_stop_between_chunks_leaves_the_rest_for_the_next_run(harness: BatchHarness) -> None:
    await add_old_batches(harness, 7, GUESTS)
    stop = asyncio.Event()
    chunks: list[int] = []

    def progress(removed: Removed) -> None:
        chunks.append(removed.batches)
        if len(chunks) == 2:
            stop.set()

    stopped = await purge.purge_guests(harness.engine, PurgePlan(14, chunk=2), stop=stop, progress=progress)

    assert isinstance(stopped, Purged)
    assert (chunks, stopped.finished) == ([2, 4], False)
    assert [row.batch_id for row in await harness.rows(PURGED)] == [f"{GUESTS}-{number}" for number in range(4)]
    rest = await run_purge(harness, PurgePlan(14, chunk=2))
    assert isinstance(rest, Purged)
    assert rest.removed.batches == 3
    log = await harness.rows("SELECT batches, finished_at IS NOT NULL FROM purge_log ORDER BY id")
    assert [tuple(row) for row in log] == [(4, False), (3, True)]


async def test_a_chunk_that_waits_for_a_lock_shrinks_and_grows_again(harness: BatchHarness, database: str) -> None:
    await add_old_batches(harness, 12, GUESTS)
    engine = create_engine(
        make_url(database).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False), Limits(lock=0.05)
    )
    totals: list[int] = []

    async with harness.engine.begin() as other:
        await other.execute(text("SELECT 1 FROM essay_states WHERE batch_id = :b FOR UPDATE"), {"b": f"{GUESTS}-2"})
        await purge.purge_guests(
            engine,
            PurgePlan(14, chunk=4),
            stop=asyncio.Event(),
            progress=lambda removed: totals.append(removed.batches),
        )

    await engine.dispose()
    assert totals == [0, 2, 2, 2, 3, 5, 8, 11]
    assert (await harness.tracker(f"{GUESTS}-2")).state == "completed"
    assert await run_purge(harness, PurgePlan(14)) == Purged(Removed(batches=1, essay_states=1))


async def test_the_oldest_batches_are_found_without_reading_batches_that_stay(harness: BatchHarness) -> None:
    await harness.execute(
        """
        INSERT INTO batch_essay_trackers
            (batch_id, state, inventory, class_type, expected_count, filled_count, registration_digest, course_code,
             user_id, correlation_id, deadline_at, registered_at, content_completed_at, completed_at)
        SELECT 'batch ' || n, 'completed', 'essay_states', kind, 1, 1, 'x', 'ENG5', 'ms-frizzle', gen_random_uuid(),
               now(), now(), now(), now() - make_interval(days => CASE kind WHEN 'GUEST' THEN 1 ELSE 99 END, secs => n)
        FROM generate_series(1, 4000) AS n,
             LATERAL (SELECT CASE n % 2 WHEN 0 THEN 'GUEST' ELSE 'REGULAR' END) AS k (kind)
        """
    )
    await add_old_batches(harness, 3, GUESTS)

    async with harness.engine.connect() as conn:
        found = await lock_oldest(conn, timedelta(days=14), after=BEFORE_ALL, limit=100, abandoned=False)
        touched = await conn.scalar(text(ROWS_READ))
        await conn.rollback()

    await harness.execute("DELETE FROM batch_essay_trackers WHERE batch_id LIKE 'batch %'")
    assert [place.batch_id for place in found] == [f"{GUESTS}-{number}" for number in range(3)]
    assert touched is not None
    assert touched < 40


async def test_a_batch_stays_while_a_dead_letter_event_of_it_is_unsent(harness: BatchHarness) -> None:
    await add_completed_batch(harness, GUESTS)
    await make_older(harness, GUESTS, 15)
    await harness.together(harness.content(4, GUESTS, file_upload_id=f"upload-{GUESTS}-00000"))
    assert await run_purge(harness, PurgePlan(14)) == Purged(Removed())

    await harness.empty_outbox()

    result = await run_purge(harness, PurgePlan(14))
    assert isinstance(result, Purged)
    assert (result.removed.batches, result.removed.dead_letters) == (1, 2)


async def test_a_second_purge_reports_that_another_runs(harness: BatchHarness) -> None:
    async with purge.purge_lock(harness.engine) as alone:
        assert alone
        assert await run_purge(harness, PurgePlan(14)) == AnotherPurgeRuns()
    assert await run_purge(harness, PurgePlan(14)) == Purged(Removed())


async def test_an_event_of_a_purged_batch_becomes_a_dead_letter(harness: BatchHarness) -> None:
    await add_completed_batch(harness, GUESTS)
    await make_older(harness, GUESTS, 15)
    await run_purge(harness, PurgePlan(14))

    for record in (
        harness.registration(GUESTS, essays=2),
        harness.content(0, GUESTS),
        harness.failure(0, GUESTS),
        harness.associations(2, GUESTS),
    ):
        assert await harness.together(record) == ["dead_letter"]
    assert (await harness.reasons())[1:] == ["batch_purged"] * 4


async def test_abandoned_guest_batches_are_purged_only_on_request(harness: BatchHarness) -> None:
    await harness.together(harness.registration(GUESTS, essays=2))
    await harness.together(harness.content(0, GUESTS))
    await harness.empty_outbox()
    await harness.execute("UPDATE batch_essay_trackers SET registered_at = now() - interval '31 days'")

    assert await run_purge(harness, PurgePlan(30)) == Purged(Removed())
    assert await run_purge(harness, PurgePlan(30, abandoned=True)) == Purged(Removed(batches=1, essay_states=2))
    (first, second) = await harness.rows("SELECT action FROM purge_log ORDER BY id")
    assert (first.action, second.action) == ("purge", "purge_abandoned")


def retention(**settings: object) -> Retention:
    return Retention.from_settings(Settings.model_validate(settings))


async def test_the_timer_purges_once_in_its_interval_over_all_workers(harness: BatchHarness) -> None:
    await add_completed_batch(harness, GUESTS)
    await make_older(harness, GUESTS, 15)

    assert await apply_retention(harness.engine, retention()) == 1
    await add_completed_batch(harness, f"{GUESTS}-2")
    await make_older(harness, f"{GUESTS}-2", 15)
    assert await apply_retention(harness.engine, retention()) == 0
    await harness.execute("UPDATE purge_log SET started_at = started_at - interval '25 hours'")
    assert await apply_retention(harness.engine, retention()) == 1


async def test_the_timer_continues_a_run_that_was_stopped(harness: BatchHarness) -> None:
    await add_old_batches(harness, 3, GUESTS)
    stop = asyncio.Event()
    plan = next(retention(purge_chunk_batches=1).plans())
    await purge.purge_guests(harness.engine, plan, stop=stop, progress=lambda _: stop.set())

    assert await apply_retention(harness.engine, retention()) == 2


async def test_a_command_for_older_batches_does_not_count_as_the_timers_run(harness: BatchHarness) -> None:
    await add_completed_batch(harness, GUESTS)
    await make_older(harness, GUESTS, 15)
    assert await run_purge(harness, PurgePlan(365)) == Purged(Removed())

    assert await apply_retention(harness.engine, retention()) == 1


async def test_the_timer_can_be_disabled_and_purges_abandoned_only_if_set(harness: BatchHarness) -> None:
    await harness.together(harness.registration(GUESTS, essays=2))
    await harness.execute("UPDATE batch_essay_trackers SET registered_at = now() - interval '31 days'")

    assert await apply_retention(harness.engine, retention()) == 0
    assert await apply_retention(harness.engine, retention(purge_enabled=False)) == 0
    assert await apply_retention(harness.engine, retention(purge_abandoned_after_days=30)) == 1


async def test_tombstones_are_deleted_after_their_retention(harness: BatchHarness) -> None:
    for number in range(3):
        await add_completed_batch(harness, f"{GUESTS}-{number}")
        await make_older(harness, f"{GUESTS}-{number}", 15)
    await run_purge(harness, PurgePlan(14))
    await harness.execute(
        "UPDATE batch_essay_trackers SET purged_at = purged_at - interval '366 days' WHERE batch_id <> :young",
        young=f"{GUESTS}-2",
    )

    await apply_retention(harness.engine, retention(purge_chunk_batches=1))

    assert [row.batch_id for row in await harness.rows("SELECT batch_id FROM batch_essay_trackers")] == [f"{GUESTS}-2"]
