from __future__ import annotations

import pytest

from els_stream.domain.outcomes import Registered
from els_stream.events import topics
from tests.support import factories as make
from tests.support.batch_harness import DEADLINE, BatchHarness

CLASS = "class-9b"


async def test_a_registration_opens_the_batch_with_all_its_slots_free(harness: BatchHarness) -> None:
    assert await harness.together(harness.registration(essays=3)) == ["registered"]

    assert await harness.counts() == ("open", 3, 0, 0, 0)
    assert [(slot.essay_id, slot.current_status, slot.version) for slot in await harness.slots()] == [
        (essay_id, "uploaded", 1) for essay_id in make.essay_ids(3)
    ]
    assert await harness.outbox_events() == []


async def test_the_tracker_stores_the_fields_of_the_registration(harness: BatchHarness) -> None:
    prompt = {"references": {"student_prompt_text": {"storage_id": "prompt-1", "path": "prompts/my-summer"}}}

    await harness.together(
        harness.registration(course_code="SV2", class_id=CLASS, org_id="hogwarts", student_prompt_ref=prompt)
    )

    row = await harness.tracker()
    assert (row.class_type, row.inventory, row.course_code) == ("REGULAR", "essay_states", "SV2")
    assert (row.user_id, row.org_id, row.class_id) == ("ms-frizzle", "hogwarts", CLASS)
    assert str(row.correlation_id) == make.stable_id("correlation")
    assert row.student_prompt_ref == prompt
    assert row.deadline_at - row.registered_at == DEADLINE


async def test_a_batch_without_a_class_is_a_guest(harness: BatchHarness) -> None:
    await harness.together(harness.registration())

    assert (await harness.tracker()).class_type == "GUEST"


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_equal_registration_is_acknowledged_and_changes_nothing(
    harness: BatchHarness, *, at_once: bool
) -> None:
    backwards = harness.registration(essays=make.essay_ids(3)[::-1], metadata=make.metadata(event="again"))
    deliver = harness.together if at_once else harness.one_by_one

    assert await deliver(harness.registration(), backwards) == ["registered", "already_registered"]
    assert await harness.counts() == ("open", 3, 0, 0, 0)
    assert await harness.reasons() == []


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "fields", [{"essays": 4}, {"user_id": "mr-chips"}, {"class_id": CLASS}, {"course_code": "SV1"}]
)
async def test_a_different_registration_is_a_dead_letter_and_flags_the_batch(
    harness: BatchHarness, fields: dict[str, object], *, at_once: bool
) -> None:
    essays = 4 if "essays" in fields else 3
    other = harness.registration(make.BATCH, essays, **{k: v for k, v in fields.items() if k != "essays"})
    deliver = harness.together if at_once else harness.one_by_one

    assert await deliver(harness.registration(), other) == ["registered", "dead_letter"]
    assert await harness.reasons() == ["conflicting_registration"]
    assert (await harness.tracker()).conflict_count == 1
    assert await harness.counts() == ("open", 3, 0, 0, 0)
    assert len(await harness.slots()) == 3


async def test_an_equal_registration_of_a_completed_batch_is_still_a_repeat(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.registration(essays=1), harness.content(0))

    assert await harness.together(harness.registration(essays=1)) == ["already_registered"]
    assert await harness.counts() == ("completed", 0, 1, 0, 0)


async def test_a_registration_of_a_purged_batch_is_a_dead_letter(harness: BatchHarness) -> None:
    await purged(harness)

    assert await harness.together(harness.registration()) == ["dead_letter"]
    assert await harness.reasons() == ["batch_purged"]


async def test_every_event_of_a_purged_batch_is_a_dead_letter(harness: BatchHarness) -> None:
    await purged(harness)

    for late in (harness.content(0), harness.failure(0), harness.associations()):
        assert await harness.together(late) == ["dead_letter"]
    assert await harness.reasons() == ["batch_purged"] * 3
    assert (await harness.tracker()).state == "purged"


async def test_many_registrations_in_one_micro_batch_open_each_batch_once(harness: BatchHarness) -> None:
    batches = [f"class-set-{number}" for number in range(40)]
    twice = [harness.registration(batch_id, essays=n % 5 + 1) for n, batch_id in enumerate(batches)] * 2

    labels = await harness.together(*twice)

    assert labels == ["registered"] * 40 + ["already_registered"] * 40
    counted = await harness.rows("SELECT sum(free_count) AS free, count(*) AS batches FROM batch_essay_trackers")
    assert tuple(counted[0]) == (120, 40)


async def test_two_batches_may_use_the_same_essay_ids(harness: BatchHarness) -> None:
    ids = ["my-summer", "my-winter"]

    await harness.together(harness.registration("9a", ids), harness.registration("9b", ids))
    await harness.together(*harness.contents([0, 1], "9a"), *harness.contents([0, 1], "9b"))

    assert await harness.counts("9a") == await harness.counts("9b") == ("completed", 0, 2, 0, 0)


async def test_ids_of_every_alphabet_and_length_are_not_changed(harness: BatchHarness) -> None:
    batch_id, essay_id = "klass|9%b'\"\\;-- ☃ 字 " + "å" * 200, "ö" * 254 + "🦉"
    upload = "upload'); DROP TABLE essay_states;--"

    await harness.together(harness.registration(batch_id, [essay_id]))
    await harness.together(harness.content(0, batch_id, file_upload_id=upload, text_storage_id="te%xt|1"))

    (slot,) = await harness.slots(batch_id)
    assert (slot.essay_id, slot.file_upload_id, slot.text_storage_id) == (essay_id, upload, "te%xt|1")
    assert [event.data["batch_id"] for event in await harness.outbox_events(batch_id)] == [batch_id] * 2
    assert {event.key for event in await harness.outbox_events(batch_id)} == {batch_id.encode()}


async def test_the_outcome_has_the_number_of_applied_pending_events(harness: BatchHarness) -> None:
    await harness.together(*harness.contents([0, 1]))
    await harness.together(harness.failure(7))

    async with harness.engine.begin() as conn:
        assert await harness.apply(conn, [harness.registration(essays=5)]) == [Registered(applied_pending=3)]


async def purged(harness: BatchHarness) -> None:
    """Add a tombstone as a purge leaves it, with an empty outbox."""
    await harness.one_by_one(harness.registration(essays=1), harness.content(9))
    await harness.empty_outbox()
    await harness.execute("DELETE FROM essay_states")
    await harness.execute("""
        UPDATE batch_essay_trackers
        SET state = 'purged', purged_at = now(), next_sequence = 1, user_id = NULL, student_prompt_ref = NULL
    """)
    assert topics.SLOT_ASSIGNED not in {event.topic for event in await harness.outbox_events()}
