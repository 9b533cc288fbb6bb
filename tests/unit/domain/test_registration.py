from __future__ import annotations

from uuid import UUID

import pytest

from els_stream.domain.batch import Batch, BatchState, ClassType
from els_stream.domain.claim_strategy import SlotTable
from els_stream.domain.outcomes import Outcome, PlainOutcome, Refused, Registered
from els_stream.domain.registration import register, registration_digest
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.decoder import decode_registration
from tests.support import factories as make
from tests.support.batch_builders import open_batch, unregistered_batch

PROMPT = {"references": {"student_prompt_text": {"storage_id": "prompt-1", "path": "prompts/my-summer"}}}
OTHER_PROMPT = {"references": {"student_prompt_text": {"storage_id": "prompt-2", "path": "prompts/my-cat"}}}
TWO_REFERENCES = [
    ("student_prompt_text", {"storage_id": "prompt-1", "path": "prompts/my-summer"}),
    ("original_essay", {"storage_id": "essay-1", "path": "essays/my-winter"}),
]


def digest(**fields: object) -> bytes:
    data = make.registration_data() | {"student_prompt_ref": PROMPT} | fields
    return registration_digest(decode_registration(make.envelope("huleedu.batch.essays.registered.v1", data)).data)


@pytest.mark.parametrize(
    "fields",
    [
        {"essay_ids": make.essay_ids(3)[::-1]},
        {"metadata": make.metadata(processing_stage="completed", error_info={"a": 1})},
        {"event": None},
    ],
)
def test_the_order_of_ids_and_the_envelope_do_not_change_the_digest(fields: dict[str, object]) -> None:
    assert digest(**fields) == digest()


@pytest.mark.parametrize(
    "fields",
    [
        {"essay_ids": [*make.essay_ids(2), "a-ringer"]},
        {"essay_ids": make.essay_ids(4), "expected_essay_count": 4},
        {"course_code": "SV3"},
        {"user_id": "mr-chips"},
        {"org_id": "hogwarts"},
        {"class_id": "class-9b"},
        {"student_prompt_ref": None},
        {"student_prompt_ref": OTHER_PROMPT},
    ],
)
def test_other_essays_people_class_course_or_prompt_make_another_registration(fields: dict[str, object]) -> None:
    assert digest(**fields) != digest()


def test_the_order_of_prompt_references_does_not_count() -> None:
    there, back = ({"references": dict(references)} for references in (TWO_REFERENCES, TWO_REFERENCES[::-1]))

    assert digest(student_prompt_ref=there) == digest(student_prompt_ref=back)


def test_an_id_that_looks_like_two_is_not_two() -> None:
    assert digest(essay_ids=['a","b', "c"], expected_essay_count=2) != digest(
        essay_ids=["a", 'b","c'], expected_essay_count=2
    )


def test_org_and_class_are_not_taken_for_each_other() -> None:
    assert digest(org_id="9b") != digest(class_id="9b")


def registered(batch: Batch, essays: int = 3, **fields: object) -> Outcome:
    data = make.registration_data(essays=essays) | fields
    event = decode_registration(make.envelope("huleedu.batch.essays.registered.v1", data))
    return register(batch, event.data, UUID(int=7), SlotTable.ESSAY_STATES)


@pytest.mark.parametrize(("class_id", "class_type"), [(None, ClassType.GUEST), ("class-9b", ClassType.REGULAR)])
def test_a_registration_opens_its_batch_with_all_slots_free(class_id: str | None, class_type: ClassType) -> None:
    batch = unregistered_batch()
    batch.pending = 4

    assert registered(batch, essays=3, class_id=class_id) == Registered(applied_pending=4)
    assert (batch.state, batch.class_type, batch.slot_table) == (BatchState.OPEN, class_type, SlotTable.ESSAY_STATES)
    assert (batch.expected, batch.free, batch.filled, batch.failed, batch.pending) == (3, 3, 0, 0, 0)
    assert batch.correlation_id == UUID(int=7)


@pytest.mark.parametrize("state", [BatchState.OPEN, BatchState.CONTENT_COMPLETE, BatchState.COMPLETED])
def test_a_second_registration_is_acknowledged_if_equal_and_else_refused(state: BatchState) -> None:
    batch = unregistered_batch()
    registered(batch, essays=3)
    batch.state = state

    assert registered(batch, essays=3) is PlainOutcome.ALREADY_REGISTERED
    refused = registered(batch, essays=4)
    assert isinstance(refused, Refused)
    assert refused.reason is DeadLetterReason.CONFLICTING_REGISTRATION
    assert batch.expected == 3


def test_a_purged_batch_is_not_registered_again() -> None:
    batch = open_batch()
    batch.state = BatchState.PURGED

    refused = registered(batch)

    assert isinstance(refused, Refused)
    assert refused.reason is DeadLetterReason.BATCH_PURGED
    assert batch.state is BatchState.PURGED
