"""Retention: what is old and finished goes whole, everything else stays, and there is a record of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream import timers
from els_stream.decisions.purging import AnotherPurgeRuns, Purged, PurgeResult, Removed
from els_stream.handlers import purging
from els_stream.handlers.purging import Erased, NothingToErase, PurgePlan, Retention, StillPublishing
from els_stream.settings import Settings
from els_stream.verify.invariants import check_invariants
from tables import batch_essay_trackers, batch_excess_content, batch_validation_failures, dead_letters, essay_states
from tests import factories as make
from tests.postgres.school import School

GUESTS = "a-guest-batch"
CLASS = "a-class-of-9b"
EVERY_TABLE = (batch_essay_trackers, essay_states, batch_excess_content, batch_validation_failures, dead_letters)


@pytest.fixture
async def school(engine: AsyncEngine) -> AsyncIterator[School]:
    """One whose relay has sent everything, so the checks are those of the service, which know that it does."""
    yield School(engine=engine)
    async with engine.connect() as conn:
        findings = await check_invariants(conn, consumer_group="nobody", prefix="")
    assert [finding.shown for finding in findings if finding.violated] == []


async def complete(school: School, batch_id: str, *, class_id: str | None = None) -> None:
    """Two essays, one surplus, one failure that came too late, one dead letter; all told."""
    await school.together(school.registration(batch_id, essays=2, class_id=class_id))
    await school.together(*school.contents([0, 1, 2], batch_id))
    await school.together(school.content(3, batch_id, file_upload_id=f"upload-{batch_id}-00000"))
    await school.together(school.failure(9, batch_id))
    if class_id is not None:
        await school.together(school.associations(2, batch_id, class_id=class_id))
    await school.execute("DELETE FROM event_outbox")


async def age(school: School, batch_id: str, days: int) -> None:
    await school.execute(
        """
        UPDATE batch_essay_trackers SET completed_at = completed_at - make_interval(days => :days)
        WHERE batch_id = :b
        """,
        days=days,
        b=batch_id,
    )


async def purge(school: School, plan: PurgePlan) -> PurgeResult:
    return await purging.purge_guests(school.engine, plan, stopping=lambda: False, progress=lambda _: None)


async def everything(school: School) -> str:
    async with school.engine.connect() as conn:
        return str([sorted(map(str, await conn.execute(table.select()))) for table in EVERY_TABLE])


async def test_an_old_guest_batch_leaves_its_tombstone_and_nothing_of_a_person(school: School) -> None:
    await complete(school, GUESTS)
    await age(school, GUESTS, 15)

    result = await purge(school, PurgePlan(14))

    assert result == Purged(Removed(batches=1, essay_states=2, validation_failures=1, excess_content=1, dead_letters=1))
    tombstone = await school.tracker(GUESTS)
    assert (tombstone.state, tombstone.class_type, tombstone.expected_count) == ("purged", "GUEST", 2)
    assert (tombstone.user_id, tombstone.org_id, tombstone.class_id, tombstone.student_prompt_ref) == (None,) * 4
    (letter,) = await school.rows("SELECT * FROM dead_letters")
    assert (letter.reason, letter.value, letter.key, len(letter.value_sha256)) == (
        "upload_already_provisioned",
        None,
        None,
        32,
    )
    (record,) = await school.rows("SELECT * FROM purge_log")
    assert (record.action, record.class_type, record.batches, record.removed["essay_states"]) == (
        "purge",
        "GUEST",
        1,
        2,
    )


async def test_what_is_young_of_a_class_or_unfinished_stays(school: School) -> None:
    await complete(school, GUESTS)
    await age(school, GUESTS, 13)
    await complete(school, CLASS, class_id="9b")
    await age(school, CLASS, 400)
    await school.together(school.registration("a-lazy-batch", essays=1))

    assert await purge(school, PurgePlan(14)) == Purged(Removed())
    assert (await school.tracker(GUESTS)).state == "completed"


async def test_a_batch_with_unsent_events_stays_until_they_are_sent(school: School) -> None:
    await school.together(school.registration(GUESTS, essays=1))
    await school.together(school.content(0, GUESTS))
    await age(school, GUESTS, 15)
    assert await purge(school, PurgePlan(14, chunk=1)) == Purged(Removed())

    await school.execute("DELETE FROM event_outbox")

    assert await purge(school, PurgePlan(14, chunk=1)) == Purged(Removed(batches=1, essay_states=1))


async def test_a_batch_that_is_at_work_is_left_for_the_next_time(school: School) -> None:
    await complete(school, GUESTS)
    await age(school, GUESTS, 15)
    async with school.engine.begin() as other:
        await school.apply(other, [school.content(0, GUESTS)])

        assert await purge(school, PurgePlan(14)) == Purged(Removed())

    result = await purge(school, PurgePlan(14))
    assert isinstance(result, Purged)
    assert result.removed.batches == 1


async def test_a_dry_run_says_the_same_and_changes_nothing(school: School) -> None:
    await complete(school, GUESTS)
    await age(school, GUESTS, 15)
    before = await everything(school)

    async with school.engine.connect() as conn:
        counted = await purging.count_guests(conn, 14)

    assert await everything(school) == before
    assert await purge(school, PurgePlan(14)) == Purged(counted)


async def test_many_batches_go_in_chunks_and_a_stop_leaves_the_rest_for_the_next_run(school: School) -> None:
    batches = [f"{GUESTS}-{number}" for number in range(7)]
    for batch_id in batches:
        await complete(school, batch_id)
        await age(school, batch_id, 15)
    chunks: list[int] = []

    stopped = await purging.purge_guests(
        school.engine,
        PurgePlan(14, chunk=2),
        stopping=lambda: len(chunks) == 2,
        progress=lambda removed: chunks.append(removed.batches),
    )

    assert (chunks, stopped) == ([2, 4], Purged(stopped.removed, finished=False) if isinstance(stopped, Purged) else 0)
    rest = await purge(school, PurgePlan(14, chunk=2))
    assert isinstance(rest, Purged)
    assert rest.removed.batches == 3
    assert [row.batches for row in await school.rows("SELECT batches FROM purge_log ORDER BY id")] == [4, 3]


async def test_a_second_purge_says_that_another_runs(school: School) -> None:
    async with purging._only_one(school.engine) as alone:
        assert alone
        assert await purge(school, PurgePlan(14)) == AnotherPurgeRuns()
    assert await purge(school, PurgePlan(14)) == Purged(Removed())


async def test_what_comes_for_a_purged_batch_is_refused_by_name(school: School) -> None:
    await complete(school, GUESTS)
    await age(school, GUESTS, 15)
    await purge(school, PurgePlan(14))

    for record in (
        school.registration(GUESTS, essays=2),
        school.content(0, GUESTS),
        school.failure(0, GUESTS),
        school.associations(2, GUESTS),
    ):
        assert await school.together(record) == ["dead_letter"]
    assert (await school.reasons())[1:] == ["batch_purged"] * 4


async def test_abandoned_guest_batches_go_only_when_asked_for(school: School) -> None:
    await school.together(school.registration(GUESTS, essays=2))
    await school.together(school.content(0, GUESTS))
    await school.execute("DELETE FROM event_outbox")
    await school.execute("UPDATE batch_essay_trackers SET registered_at = now() - interval '31 days'")

    assert await purge(school, PurgePlan(30)) == Purged(Removed())
    assert await purge(school, PurgePlan(30, abandoned=True)) == Purged(Removed(batches=1, essay_states=2))
    (first, second) = await school.rows("SELECT action FROM purge_log ORDER BY id")
    assert (first.action, second.action) == ("purge", "purge_abandoned")


@pytest.mark.parametrize("dry_run", [True, False])
async def test_erasure_takes_a_batch_of_any_class_whatever_its_age(school: School, *, dry_run: bool) -> None:
    await complete(school, CLASS, class_id="9b")

    async with school.engine.begin() as conn:
        result = await purging.erase_batch(conn, CLASS, dry_run=dry_run)

    assert result == Erased(Removed(batches=1, essay_states=2, validation_failures=1, excess_content=1, dead_letters=1))
    assert (await school.tracker(CLASS)).state == ("completed" if dry_run else "purged")
    log = await school.rows("SELECT action, class_type FROM purge_log")
    assert [tuple(row) for row in log] == ([] if dry_run else [("erase_batch", "REGULAR")])


async def test_nothing_lifts_the_rule_that_events_are_sent_first(school: School) -> None:
    await school.together(school.registration(GUESTS, essays=1))
    await school.together(school.content(0, GUESTS))

    async with school.engine.begin() as conn:
        assert await purging.erase_batch(conn, GUESTS, dry_run=False) == StillPublishing()
        assert await purging.erase_batch(conn, "nobody's batch", dry_run=False) == NothingToErase()


async def test_a_student_is_forgotten_everywhere_and_the_record_names_nobody(school: School) -> None:
    await complete(school, CLASS, class_id="9b")
    (student,) = {
        row.student_id for row in await school.rows("SELECT student_id FROM essay_states ORDER BY essay_id LIMIT 1")
    }

    async with school.engine.begin() as conn:
        cleared = await purging.forget_student(conn, student)

    assert cleared == len([1 for slot in [*await school.slots(CLASS)] if slot.associated_at is None])
    assert student not in str(await school.rows("SELECT student_id FROM essay_states"))
    (record,) = await school.rows("SELECT * FROM purge_log")
    assert (record.action, record.removed) == ("erase_student", {"associations": cleared})
    assert make.BATCH not in str(record)


def retention(**settings: object) -> Retention:
    return timers.retention(Settings.model_validate(settings))


async def test_the_timer_purges_what_is_due_once_in_its_interval_whoever_looks(school: School) -> None:
    await complete(school, GUESTS)
    await age(school, GUESTS, 15)

    assert await purging.keep_retention(school.engine, retention()) == 1
    await complete(school, f"{GUESTS}-2")
    await age(school, f"{GUESTS}-2", 15)
    assert await purging.keep_retention(school.engine, retention()) == 0
    await school.execute("UPDATE purge_log SET started_at = started_at - interval '25 hours'")
    assert await purging.keep_retention(school.engine, retention()) == 1


async def test_the_timer_can_be_off_and_takes_abandoned_batches_only_when_told(school: School) -> None:
    await school.together(school.registration(GUESTS, essays=2))
    await school.execute("UPDATE batch_essay_trackers SET registered_at = now() - interval '31 days'")

    assert await purging.keep_retention(school.engine, retention()) == 0
    assert await purging.keep_retention(school.engine, retention(purge_enabled=False)) == 0
    assert await purging.keep_retention(school.engine, retention(purge_abandoned_after_days=30)) == 1


async def test_tombstones_go_after_their_own_time(school: School) -> None:
    for number in range(3):
        await complete(school, f"{GUESTS}-{number}")
        await age(school, f"{GUESTS}-{number}", 15)
    await purge(school, PurgePlan(14))
    await school.execute(
        "UPDATE batch_essay_trackers SET purged_at = purged_at - interval '366 days' WHERE batch_id <> :young",
        young=f"{GUESTS}-2",
    )

    await purging.keep_retention(school.engine, retention(purge_chunk_batches=1))

    assert [row.batch_id for row in await school.rows("SELECT batch_id FROM batch_essay_trackers")] == [f"{GUESTS}-2"]
