"""A violation names the field at fault, from a closed set."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from els_stream.events import topics
from els_stream.events.contract_fields import FIELDS, VALIDATION_CODE_FIELD, WHOLE_VALUE, field_at
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.message_schemas import example_bytes
from els_stream.events.violation import ContractViolation
from tests.support.decoders import DECODERS
from tests.support.invalid_records import CASES, InvalidRecordCase

ASSOCIATIONS: Final = topics.ASSOCIATIONS_CONFIRMED


def violation(topic: str, value: bytes | None) -> ContractViolation:
    with pytest.raises(ContractViolation) as raised:
        DECODERS[topic](value)
    return raised.value


@pytest.mark.parametrize(
    ("topic", "path", "value", "field"),
    [
        (topics.BATCH_REGISTERED, ("data", "course_code"), "SV9", "data.course_code"),
        (topics.BATCH_REGISTERED, ("data", "essay_ids", 1), 7, "data.essay_ids"),
        (topics.BATCH_REGISTERED, ("data", "metadata", "entity_id"), "", "data.metadata.entity_id"),
        (topics.BATCH_REGISTERED, ("data", "expected_essay_count"), 9, "data"),
        (topics.BATCH_REGISTERED, ("correlation_id",), "no", "correlation_id"),
        (topics.CONTENT_PROVISIONED, ("event_type",), "other", "event_type"),
        (topics.CONTENT_PROVISIONED, ("data",), None, "data"),
        (
            ASSOCIATIONS,
            ("data", "associations", 1, "validation_method"),
            "guess",
            "data.associations.validation_method",
        ),
        (ASSOCIATIONS, ("data", "validation_summary", "event"), -1, "data.validation_summary"),
    ],
)
def test_a_violation_names_its_field(topic: str, path: tuple[Any, ...], value: object, field: str) -> None:
    event = json.loads(example_bytes(topic))
    place = event
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    found = violation(topic, json.dumps(event).encode())

    assert (found.reason, found.field) == (DeadLetterReason.CONTRACT_VIOLATION, field)


def test_a_value_that_is_no_object_is_at_fault_as_a_whole() -> None:
    assert violation(topics.CONTENT_PROVISIONED, b"[]").field == WHOLE_VALUE
    assert field_at(topics.CONTENT_PROVISIONED, [0, "no such field"]) == WHOLE_VALUE


def test_only_a_contract_violation_names_a_field() -> None:
    assert violation(topics.CONTENT_PROVISIONED, b"Dear Sir or Madam,").field is None
    assert violation(topics.CONTENT_PROVISIONED, b"").field is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_violation_is_at_a_field_of_the_closed_set(case: InvalidRecordCase) -> None:
    found = violation(case.topic, case.value)

    assert (found.field in FIELDS[case.topic]) == (found.reason is DeadLetterReason.CONTRACT_VIOLATION)


def test_the_field_with_unknown_values_exists() -> None:
    assert VALIDATION_CODE_FIELD in FIELDS[topics.VALIDATION_FAILED]
    assert all(len(fields) < 50 for fields in FIELDS.values())
