from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest

from els_stream.events.records import RawRecord
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness

CLASS = "class-9b"
FIRST, SECOND, THIRD = make.essay_ids(3)


@pytest.fixture
async def regular(harness: BatchHarness) -> BatchHarness:
    await harness.together(harness.registration(essays=3, class_id=CLASS))
    return harness


async def students(harness: BatchHarness) -> Sequence[str | None]:
    return [slot.student_id for slot in await harness.slots()]


@pytest.mark.parametrize("order", list(permutations(range(4))))
async def test_a_regular_batch_is_ready_once_in_any_order(harness: BatchHarness, order: tuple[int, ...]) -> None:
    events = [
        harness.registration(essays=2, class_id=CLASS),
        harness.content(0),
        harness.failure(1),
        harness.associations(2),
    ]

    await harness.one_by_one(*(events[index] for index in order), *events)

    assert await harness.counts() == ("completed", 0, 1, 1, 0)
    assert await harness.kinds() == ["assigned", "errors", "completed", "ready"]
    ready = (await harness.outbox_events())[-1]
    assert [essay["text_storage_id"] for essay in ready.data["ready_essays"]] == ["text-batch-of-9b-00000"]


async def test_a_regular_batch_is_not_completed_before_its_associations(regular: BatchHarness) -> None:
    await regular.together(*regular.contents(range(3)))

    assert await regular.counts() == ("content_complete", 0, 3, 0, 0)
    assert (await regular.tracker()).completed_at is None
    assert await regular.together(regular.associations()) == ["associations_confirmed"]
    assert (await regular.tracker()).completed_at is not None


async def test_associations_before_the_content_wait_on_the_batch(regular: BatchHarness) -> None:
    assert await regular.together(regular.associations()) == ["associations_confirmed"]
    assert await regular.counts() == ("open", 3, 0, 0, 0)

    await regular.together(*regular.contents(range(3)))
    assert await regular.kinds() == ["assigned", "assigned", "assigned", "completed", "ready"]


async def test_a_guest_batch_is_completed_without_associations_and_never_ready(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.registration(essays=1), harness.content(0))

    assert await harness.together(harness.associations(1)) == ["dead_letter"]
    assert await harness.reasons() == ["guest_batch"]
    assert await harness.kinds() == ["assigned", "completed"]


async def test_an_association_is_stored_with_method_confidence_validator_and_time(regular: BatchHarness) -> None:
    association = make.association(
        FIRST, "student-pippi", confidence_score=0.25, validation_method="auto", validated_by=None
    )

    await regular.together(regular.associations(associations=[association]))

    slot = (await regular.slots())[0]
    assert (slot.student_id, slot.association_method, slot.association_confidence) == ("student-pippi", "auto", 0.25)
    assert (slot.associated_by, slot.associated_at) == (None, make.NOON)
    assert slot.version == 2


async def test_an_essay_without_a_match_is_associated_without_a_student(regular: BatchHarness) -> None:
    await regular.together(regular.associations(associations=[make.association(FIRST, None)]))

    slot = (await regular.slots())[0]
    assert (slot.student_id, slot.association_method) == (None, "human")


async def test_associations_in_several_events_add_up_and_confirm_once(regular: BatchHarness) -> None:
    several = [regular.associations([essay_id]) for essay_id in (FIRST, SECOND)]

    assert await regular.together(*several) == ["associations_confirmed", "associations_updated"]
    assert await students(regular) == ["student-pippi", "student-pippi", None]


async def test_an_event_without_associations_confirms_the_batch(regular: BatchHarness) -> None:
    assert await regular.together(regular.associations([])) == ["associations_confirmed"]


async def test_a_human_beats_auto_and_the_later_counts_across_deliveries(regular: BatchHarness) -> None:
    def says(student: str, method: str, at: str) -> RawRecord:
        time = f"2026-01-31T{at}:00Z"
        association = make.association(FIRST, student, validation_method=method, validated_at=time)
        return regular.associations(associations=[association])

    deliveries = [
        says("student-auto", "auto", "12:00"),
        says("student-human", "human", "11:00"),
        says("student-late-auto", "timeout", "13:00"),
        says("student-early-human", "human", "10:00"),
    ]
    for ordered in (deliveries, deliveries[::-1]):
        await regular.one_by_one(*ordered)
        assert (await students(regular))[0] == "student-human"

    await regular.together(says("student-last-word", "human", "11:01"))
    assert (await students(regular))[0] == "student-last-word"


@pytest.mark.parametrize(
    ("essays", "class_id", "reason"),
    [([FIRST, "an-essay-of-9a", SECOND], CLASS, "unknown_essay"), ([FIRST], "class-9a", "class_mismatch")],
)
async def test_one_wrong_association_and_none_of_the_event_is_applied(
    regular: BatchHarness, essays: list[str], class_id: str, reason: str
) -> None:
    wrong = regular.associations(essays, class_id=class_id)

    assert await regular.together(wrong) == ["dead_letter"]
    assert await regular.reasons() == [reason]
    assert await students(regular) == [None, None, None]
    assert (await regular.tracker()).associations_confirmed_at is None


async def test_an_unknown_essay_is_named_in_the_dead_letter(regular: BatchHarness) -> None:
    await regular.together(regular.associations([FIRST, "an-essay-of-9a"]))

    (row,) = await regular.rows("SELECT message FROM dead_letters")
    assert row.message == "not essays of this batch: an-essay-of-9a"


async def test_a_student_of_a_failed_slot_is_stored_without_effect(regular: BatchHarness) -> None:
    await regular.together(regular.failure(0))

    await regular.together(regular.associations([FIRST]))

    slot = (await regular.slots())[0]
    assert (slot.student_id, slot.current_status) == ("student-pippi", "content_ingestion_failed")
    assert await regular.kinds() == []


async def test_the_ready_event_has_course_language_and_prompt(harness: BatchHarness) -> None:
    prompt = {"references": {"student_prompt_text": {"storage_id": "prompt-1", "path": "prompts/my-summer"}}}
    await harness.one_by_one(
        harness.registration(essays=1, class_id=CLASS, course_code="SV3", student_prompt_ref=prompt),
        harness.content(0),
        harness.associations(1),
    )

    ready = (await harness.outbox_events())[-1].data
    assert (ready["course_code"], ready["course_language"], ready["class_type"]) == ("SV3", "sv", "REGULAR")
    assert ready["student_prompt_ref"] == prompt


async def test_associations_after_readiness_update_and_publish_nothing(regular: BatchHarness) -> None:
    await regular.together(*regular.contents(range(3)))
    await regular.together(regular.associations([FIRST]))
    before = await regular.kinds()

    assert await regular.together(regular.associations([THIRD])) == ["associations_updated"]
    assert await regular.kinds() == before
    assert await students(regular) == ["student-pippi", None, "student-pippi"]
