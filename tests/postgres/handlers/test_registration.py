from __future__ import annotations

import pytest

from els_stream.domain.outcomes import Registered
from els_stream.events import topics
from tests.support import factories as make
from tests.support.batch_harness import DEADLINE, BatchHarness

CLASS = "class-9b"


async def test_a_registration_opens_the_batch_with_all_its_slots_free(school: BatchHarness) -> None:
    assert await school.together(school.registration(essays=3)) == ["registered"]

    assert await school.counts() == ("open", 3, 0, 0, 0)
    assert [(slot.essay_id, slot.current_status, slot.version) for slot in await school.slots()] == [
        (essay_id, "uploaded", 1) for essay_id in make.essay_ids(3)
    ]
    assert await school.told() == []


async def test_what_a_registration_says_stands_on_the_tracker(school: BatchHarness) -> None:
    prompt = {"references": {"student_prompt_text": {"storage_id": "prompt-1", "path": "prompts/my-summer"}}}

    await school.together(
        school.registration(course_code="SV2", class_id=CLASS, org_id="hogwarts", student_prompt_ref=prompt)
    )

    row = await school.tracker()
    assert (row.class_type, row.inventory, row.course_code) == ("REGULAR", "essay_states", "SV2")
    assert (row.user_id, row.org_id, row.class_id) == ("ms-frizzle", "hogwarts", CLASS)
    assert str(row.correlation_id) == make.told_id("correlation")
    assert row.student_prompt_ref == prompt
    assert row.deadline_at - row.registered_at == DEADLINE


async def test_a_batch_without_a_class_is_a_guest(school: BatchHarness) -> None:
    await school.together(school.registration())

    assert (await school.tracker()).class_type == "GUEST"


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_equal_registration_is_acknowledged_and_changes_nothing(
    school: BatchHarness, *, at_once: bool
) -> None:
    backwards = school.registration(essays=make.essay_ids(3)[::-1], metadata=make.metadata(event="again"))
    deliver = school.together if at_once else school.one_by_one

    assert await deliver(school.registration(), backwards) == ["registered", "already_registered"]
    assert await school.counts() == ("open", 3, 0, 0, 0)
    assert await school.reasons() == []


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "fields", [{"essays": 4}, {"user_id": "mr-chips"}, {"class_id": CLASS}, {"course_code": "SV1"}]
)
async def test_a_different_registration_is_a_dead_letter_and_flags_the_batch(
    school: BatchHarness, fields: dict[str, object], *, at_once: bool
) -> None:
    essays = 4 if "essays" in fields else 3
    other = school.registration(make.BATCH, essays, **{k: v for k, v in fields.items() if k != "essays"})
    deliver = school.together if at_once else school.one_by_one

    assert await deliver(school.registration(), other) == ["registered", "dead_letter"]
    assert await school.reasons() == ["conflicting_registration"]
    assert (await school.tracker()).conflict_count == 1
    assert await school.counts() == ("open", 3, 0, 0, 0)
    assert len(await school.slots()) == 3


async def test_an_equal_registration_of_a_completed_batch_is_still_a_repeat(school: BatchHarness) -> None:
    await school.one_by_one(school.registration(essays=1), school.content(0))

    assert await school.together(school.registration(essays=1)) == ["already_registered"]
    assert await school.counts() == ("completed", 0, 1, 0, 0)


async def test_a_registration_of_a_purged_batch_is_a_dead_letter(school: BatchHarness) -> None:
    await purged(school)

    assert await school.together(school.registration()) == ["dead_letter"]
    assert await school.reasons() == ["batch_purged"]


async def test_whatever_comes_late_for_a_purged_batch_is_a_dead_letter(school: BatchHarness) -> None:
    await purged(school)

    for late in (school.content(0), school.failure(0), school.associations()):
        assert await school.together(late) == ["dead_letter"]
    assert await school.reasons() == ["batch_purged"] * 3
    assert (await school.tracker()).state == "purged"


async def test_many_registrations_in_one_micro_batch_open_each_batch_once(school: BatchHarness) -> None:
    batches = [f"class-set-{number}" for number in range(40)]
    twice = [school.registration(batch_id, essays=n % 5 + 1) for n, batch_id in enumerate(batches)] * 2

    labels = await school.together(*twice)

    assert labels == ["registered"] * 40 + ["already_registered"] * 40
    counted = await school.rows("SELECT sum(free_count) AS free, count(*) AS batches FROM batch_essay_trackers")
    assert tuple(counted[0]) == (120, 40)


async def test_two_batches_may_use_the_same_essay_ids(school: BatchHarness) -> None:
    ids = ["my-summer", "my-winter"]

    await school.together(school.registration("9a", ids), school.registration("9b", ids))
    await school.together(*school.contents([0, 1], "9a"), *school.contents([0, 1], "9b"))

    assert await school.counts("9a") == await school.counts("9b") == ("completed", 0, 2, 0, 0)


async def test_ids_of_every_alphabet_and_length_come_out_as_they_went_in(school: BatchHarness) -> None:
    batch_id, essay_id = "klass|9%b'\"\\;-- ☃ 字 " + "å" * 200, "ö" * 254 + "🦉"
    upload = "upload'); DROP TABLE essay_states;--"

    await school.together(school.registration(batch_id, [essay_id]))
    await school.together(school.content(0, batch_id, file_upload_id=upload, text_storage_id="te%xt|1"))

    (slot,) = await school.slots(batch_id)
    assert (slot.essay_id, slot.file_upload_id, slot.text_storage_id) == (essay_id, upload, "te%xt|1")
    assert [event.data["batch_id"] for event in await school.told(batch_id)] == [batch_id] * 2
    assert {event.key for event in await school.told(batch_id)} == {batch_id.encode()}


async def test_the_outcome_says_how_much_was_drained(school: BatchHarness) -> None:
    await school.together(*school.contents([0, 1]))
    await school.together(school.failure(7))

    async with school.engine.begin() as conn:
        assert await school.apply(conn, [school.registration(essays=5)]) == [Registered(drained=3)]


async def purged(school: BatchHarness) -> None:
    """A tombstone as a purge leaves it, its events long sent."""
    await school.one_by_one(school.registration(essays=1), school.content(9))
    await school.execute("DELETE FROM event_outbox")
    await school.execute("DELETE FROM essay_states")
    await school.execute("""
        UPDATE batch_essay_trackers
        SET state = 'purged', purged_at = now(), next_sequence = 1, user_id = NULL, student_prompt_ref = NULL
    """)
    assert topics.SLOT_ASSIGNED not in {event.topic for event in await school.told()}
