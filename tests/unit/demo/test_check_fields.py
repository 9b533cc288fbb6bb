from __future__ import annotations

from typing import Any

import pytest

from els_stream.events import topics
from els_stream.events.records import RawRecord
from tests.support.demo_output import (
    ASSIGNED,
    COMPLETED,
    EXCESS,
    WITHOUT_ASSIGNMENT,
    changed,
    check,
    correct_output,
    first_of,
    lines_of,
)


@pytest.mark.parametrize(
    ("topic", "field", "value", "batch", "lines"),
    [
        (
            topics.SLOT_ASSIGNED,
            "essay_id",
            "essay-of-the-dog",
            ASSIGNED,
            [
                "slot essay-of-the-dog is not of this batch",
                "completed with 6 essays, which are not the 6 assigned",
                "ready with 6 essays, which are not the 6 assigned",
            ],
        ),
        (
            topics.SLOT_ASSIGNED,
            "original_file_name",
            "Homework by ChatGPT.docx",
            ASSIGNED,
            ["content text-batch-004-002 was assigned with other fields than it was sent"],
        ),
        (
            topics.SLOT_ASSIGNED,
            "text_storage_id",
            "text-of-nobody",
            ASSIGNED,
            [
                "content text-of-nobody was assigned with other fields than it was sent",
                "completed with 6 essays, which are not the 6 assigned",
                "ready with 6 essays, which are not the 6 assigned",
            ],
        ),
        (
            topics.SLOT_ASSIGNED,
            "correlation_id",
            "00000000-0000-4000-8000-000000000000",
            ASSIGNED,
            ["content text-batch-004-002 was assigned under two correlation ids"],
        ),
        (
            topics.EXCESS_CONTENT,
            "original_file_name",
            "Homework by ChatGPT.docx",
            EXCESS,
            ["content text-batch-008-002 was excess with other fields than it was sent"],
        ),
        (
            topics.PROVISIONING_COMPLETED,
            "provisioned_count",
            4711,
            COMPLETED,
            ["completed with 4711 essays, which are not the 3 assigned"],
        ),
        (
            topics.PROVISIONING_COMPLETED,
            "essays_for_processing",
            [],
            COMPLETED,
            ["completed with 3 essays, which are not the 3 assigned"],
        ),
        (
            topics.PROVISIONING_COMPLETED,
            "expected_count",
            4711,
            COMPLETED,
            ["completed with another count, course or user than was registered"],
        ),
        (
            topics.PROVISIONING_COMPLETED,
            "user_id",
            "count-olaf",
            COMPLETED,
            ["completed with another count, course or user than was registered"],
        ),
        (
            topics.ESSAYS_READY,
            "ready_essays",
            [],
            ASSIGNED,
            ["ready with 0 essays, which are not the 6 assigned"],
        ),
        (
            topics.VALIDATION_ERRORS,
            "failed_essays",
            [],
            EXCESS,
            [
                "validation errors in 0 slots, which are not the 4 others",
                "validation errors with a wrong summary",
            ],
        ),
        (
            topics.VALIDATION_ERRORS,
            "error_summary.total_errors",
            4711,
            EXCESS,
            ["validation errors with a wrong summary"],
        ),
        (
            topics.VALIDATION_ERRORS,
            "error_summary.critical_failure",
            True,
            EXCESS,
            ["validation errors with a wrong critical_failure"],
        ),
    ],
)
def test_a_wrong_field_is_found(topic: str, field: str, value: object, batch: int, lines: list[str]) -> None:
    assert check(with_field(topic, field, value)) == lines_of(batch, *lines)


def with_field(topic: str, field: str, value: object) -> list[RawRecord]:
    """Return a correct output, except for one field of the first event of the topic."""

    def change(data: dict[str, Any]) -> None:
        *path, last = field.split(".")
        for step in path:
            data = data[step]
        assert data[last] != value
        data[last] = value

    records = correct_output()
    spoilt = first_of(topic, records)
    records[records.index(spoilt)] = changed(spoilt, change)
    return records


def test_an_event_of_a_batch_that_was_not_sent_is_found() -> None:
    identity = dict(first_of(topics.SLOT_ASSIGNED, correct_output()).headers)["ce_id"].decode()

    assert check(with_field(topics.SLOT_ASSIGNED, "batch_id", "batch-of-nobody")) == [
        f"{topics.SLOT_ASSIGNED}: event {identity} of batch-of-nobody has another key",
        *lines_of(ASSIGNED, *WITHOUT_ASSIGNMENT),
        "batch-of-nobody: no record of this batch was sent",
    ]


def test_an_event_that_violates_its_contract_is_found() -> None:
    identity = dict(first_of(topics.SLOT_ASSIGNED, correct_output()).headers)["ce_id"].decode()

    assert check(with_field(topics.SLOT_ASSIGNED, "event", "essay.eaten.by.dog")) == [
        f"{topics.SLOT_ASSIGNED}: event {identity} violates its contract in 1 fields",
        *lines_of(ASSIGNED, *WITHOUT_ASSIGNMENT),
    ]
