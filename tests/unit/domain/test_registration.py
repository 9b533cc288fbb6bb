from __future__ import annotations

import pytest

from els_stream.domain.registration import registration_digest
from els_stream.events.decoder import decode_registration
from tests.support import factories as make

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
def test_the_order_of_ids_and_what_surrounds_the_facts_do_not_count(fields: dict[str, object]) -> None:
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
