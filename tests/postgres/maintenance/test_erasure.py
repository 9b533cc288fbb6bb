"""Erasure on request: of any class and age, with an audit entry without personal data."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.domain.purge_results import Erased, NothingToErase, Removed, StillPublishing
from els_stream.maintenance.erasure import erase_batch
from tests.support.batch_harness import BatchHarness
from tests.support.cli import els
from tests.support.finished_batches import add_completed_batch, all_rows, find_violations

CLASS = "a-class-of-9b"
WHOLE = Removed(batches=1, essay_states=2, validation_failures=1, excess_content=1, dead_letters=1)


@pytest.fixture
async def harness(engine: AsyncEngine) -> AsyncIterator[BatchHarness]:
    yield BatchHarness(engine=engine)
    assert await find_violations(engine) == []


@pytest.fixture
def environment(database: str, tmp_path: Path) -> Mapping[str, str]:
    return {"ELS_BROKER_URL": "127.0.0.1:1", "ELS_DATABASE_URL": database, "ELS_STATE_DIR": str(tmp_path)}


async def erase(harness: BatchHarness, batch_id: str, *, dry_run: bool = False) -> object:
    async with harness.engine.begin() as conn:
        return await erase_batch(conn, batch_id, dry_run=dry_run)


async def test_a_batch_of_any_class_and_age_is_erased_but_not_by_a_dry_run(harness: BatchHarness) -> None:
    await add_completed_batch(harness, CLASS, class_id="9b")
    before = await all_rows(harness)

    assert await erase(harness, CLASS, dry_run=True) == Erased(WHOLE, "REGULAR")
    assert await all_rows(harness) == before
    assert await erase(harness, CLASS) == Erased(WHOLE, "REGULAR")

    tombstone = await harness.tracker(CLASS)
    assert (tombstone.state, tombstone.user_id, tombstone.class_id) == ("purged", None, None)
    (record,) = await harness.rows("SELECT * FROM purge_log")
    assert (record.action, record.class_type, record.batches) == ("erase_batch", "REGULAR", 1)
    assert not any(said in str(record) for said in (CLASS, "9b", "frizzle"))


async def test_a_batch_with_unsent_events_is_not_erased(harness: BatchHarness) -> None:
    await harness.together(harness.registration(CLASS, essays=1))
    await harness.together(harness.content(0, CLASS))

    assert await erase(harness, CLASS) == StillPublishing()
    assert await erase(harness, "nobody's batch") == NothingToErase()


async def test_pending_events_of_an_unregistered_batch_are_erased_with_its_tracker(harness: BatchHarness) -> None:
    await harness.together(harness.content(0, CLASS), harness.content(1, CLASS))

    assert await erase(harness, CLASS) == Erased(Removed(pending_events=2), None)

    assert await harness.rows("SELECT * FROM batch_essay_trackers") == []
    assert await harness.together(harness.content(0, CLASS)) == ["pending"]


async def test_late_events_of_a_tombstone_lose_their_payload(harness: BatchHarness) -> None:
    await add_completed_batch(harness, CLASS)
    await erase(harness, CLASS)
    assert await erase(harness, CLASS) == NothingToErase()
    await harness.together(harness.content(5, CLASS))
    await harness.empty_outbox()

    assert await erase(harness, CLASS) == Erased(Removed(dead_letters=1), "GUEST")

    assert {row.value for row in await harness.rows("SELECT value FROM dead_letters")} == {None}
    assert [row.batches for row in await harness.rows("SELECT batches FROM purge_log ORDER BY id")] == [1, 0]


async def test_the_command_prints_the_same_table_for_a_dry_run(
    harness: BatchHarness, environment: Mapping[str, str]
) -> None:
    await add_completed_batch(harness, CLASS, class_id="9b")

    would = await els(environment, "erase", CLASS, "--dry-run", "--json")
    dry = await els(environment, "erase", CLASS, "--dry-run")
    wet = await els(environment, "erase", CLASS)
    again = await els(environment, "erase", CLASS)

    assert (dry.exit_code, wet.exit_code, again.exit_code) == (0, 0, 3)
    assert dry.stdout.splitlines()[0] == "would remove:"
    assert dry.stdout.splitlines()[1:] == wet.stdout.splitlines()[1:]
    assert json.loads(would.stdout)["rows"]["REGULAR"] == WHOLE.rows
    assert again.stderr.startswith("els: ")
    await harness.together(harness.registration("unsent", essays=1))
    await harness.together(harness.content(0, "unsent"))
    assert (await els(environment, "erase", "unsent")).exit_code == 1


async def test_a_student_is_erased_everywhere_without_a_name_in_the_log(
    harness: BatchHarness, environment: Mapping[str, str]
) -> None:
    await add_completed_batch(harness, CLASS, class_id="9b")
    first, second = await harness.slots(CLASS)
    student = first.student_id
    await harness.execute("UPDATE essay_states SET student_id = 'annika' WHERE essay_id = :id", id=second.essay_id)
    before = await all_rows(harness)

    dry = await els(environment, "erase", "--student", student, "--dry-run")
    assert dry.stdout == "would clear 1 associations\n"
    assert await all_rows(harness) == before
    wet = await els(environment, "erase", "--student", student, "--json")

    assert json.loads(wet.stdout) == {"outcome": "cleared", "associations": 1}
    assert student not in str(await harness.rows("SELECT * FROM essay_states"))
    assert [slot.student_id is None for slot in await harness.slots(CLASS)] == [True, False]
    (record,) = await harness.rows("SELECT * FROM purge_log")
    assert (record.action, record.removed) == ("erase_student", {"associations": 1})
    assert student not in str(record)
