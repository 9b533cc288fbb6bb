"""Each test changes one thing in a correct output and compares all differences that the check then finds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from els_stream.demo.expectations import CountRange, exactly
from els_stream.demo.observations import Observations
from els_stream.demo.traffic import with_injected_error
from els_stream.events import topics
from els_stream.events.event_ids import event_id
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
    traffic,
)

HORRORS = (
    "contract_violation from huleedu.batch.essays.registered.v1, key b'batch-of-horrors', "
    'b\'{"event_id": "0aadacf0-37d7-4190-90bf-d7922ed6d460", "event_\''
)


def with_another_id(record: RawRecord, subject: str = "another fact") -> RawRecord:
    """Return the same event with another id in its headers and envelope."""
    identity = str(event_id(record.topic, "batch-001", subject))
    headers = tuple((n, identity.encode() if n in {"ce_id", "event_id"} else v) for n, v in record.headers)
    whole = json.loads(record.value or b"") | {"event_id": identity}
    return replace(record, headers=headers, value=json.dumps(whole).encode())


def test_a_correct_output_has_no_differences() -> None:
    assert check(correct_output()) == []


@pytest.mark.parametrize(
    ("topic", "lines"),
    [
        (topics.SLOT_ASSIGNED, lines_of(ASSIGNED, *WITHOUT_ASSIGNMENT)),
        (topics.PROVISIONING_COMPLETED, lines_of(COMPLETED, "0 events of completed, not 1")),
        (topics.ESSAYS_READY, lines_of(ASSIGNED, "0 events of ready, not 1")),
        (topics.EXCESS_CONTENT, lines_of(EXCESS, "2 events of excess, not 3")),
        (topics.VALIDATION_ERRORS, lines_of(EXCESS, "0 events of validation errors, not 1")),
        (topics.DEAD_LETTER, [f"{topics.DEAD_LETTER}: 0 of {HORRORS}, not 1"]),
    ],
)
def test_a_missing_event_is_found(topic: str, lines: list[str]) -> None:
    records = correct_output()
    records.remove(first_of(topic, records))

    assert check(records) == lines


@pytest.mark.parametrize(
    ("topic", "lines"),
    [
        (
            topics.SLOT_ASSIGNED,
            lines_of(
                ASSIGNED,
                "7 slots assigned, not 6",
                "slot batch-004-essay-006 was assigned 2 times",
                "content text-batch-004-002 was assigned 2 times",
                "upload upload-batch-004-002 was assigned 2 times",
                "completed with 6 essays, which are not the 7 assigned",
                "ready with 6 essays, which are not the 7 assigned",
            ),
        ),
        (topics.PROVISIONING_COMPLETED, lines_of(COMPLETED, "2 events of completed, not 1")),
        (topics.ESSAYS_READY, lines_of(ASSIGNED, "2 events of ready, not 1")),
        (
            topics.EXCESS_CONTENT,
            lines_of(EXCESS, "4 events of excess, not 3", "content text-batch-008-002 was excess 2 times"),
        ),
        (topics.VALIDATION_ERRORS, lines_of(EXCESS, "2 events of validation errors, not 1")),
    ],
)
def test_a_fact_published_under_two_ids_is_found(topic: str, lines: list[str]) -> None:
    records = correct_output()

    assert check([*records, with_another_id(first_of(topic, records))]) == lines


def test_a_copy_is_a_difference_only_if_its_bytes_differ() -> None:
    records = correct_output()
    ready = first_of(topics.ESSAYS_READY, records)
    identity = dict(ready.headers)["ce_id"].decode()
    place = f"{topics.ESSAYS_READY}/{ready.partition}/{ready.offset}"

    assert check([*records, ready]) == []
    assert check([*records, replace(ready, value=(ready.value or b"") + b" ")]) == [
        f"{place}: event {identity} was published before with other bytes"
    ]


def test_events_are_counted_by_their_number_of_copies() -> None:
    records = correct_output()
    ready = first_of(topics.ESSAYS_READY, records)
    observations = Observations()
    for record in (*records, replace(ready, offset=1_000), replace(ready, offset=1_001)):
        observations.add(record)

    assert observations.events_by_copies() == {0: len(records) - 1, 2: 1}


@pytest.mark.parametrize(
    ("topic", "batch", "lines"),
    [
        (topics.PROVISIONING_COMPLETED, COMPLETED, ["completed was sent before assigned"]),
        (topics.ESSAYS_READY, ASSIGNED, ["ready was sent before assigned", "ready was sent before completed"]),
        (topics.EXCESS_CONTENT, EXCESS, ["excess was sent before completed"]),
    ],
)
def test_an_event_published_too_early_is_found(topic: str, batch: int, lines: list[str]) -> None:
    records = correct_output()
    early = first_of(topic, records)

    found = check(replace(record, timestamp=-1) if record is early else record for record in records)

    assert found == lines_of(batch, *lines)


def test_content_that_is_both_assigned_and_excess_is_found() -> None:
    records = correct_output()
    excess = first_of(topics.EXCESS_CONTENT, records)
    assigned = next(r for r in records if r.topic == topics.SLOT_ASSIGNED and r.key == excess.key)
    text = json.loads(assigned.value or b"")["data"]["text_storage_id"]
    records[records.index(excess)] = changed(excess, lambda data: data.update(text_storage_id=text))

    assert check(records) == lines_of(
        EXCESS,
        f"content {text} is both assigned and excess",
        f"content {text} was excess with other fields than it was sent",
    )


def test_a_dead_letter_with_another_reason_is_found() -> None:
    records = correct_output()
    dead_letter = first_of(topics.DEAD_LETTER, records)
    headers = tuple((n, b"bad_hair_day" if n == "dlq_reason" else v) for n, v in dead_letter.headers)
    records[records.index(dead_letter)] = replace(dead_letter, headers=headers)

    assert check(records) == [
        f"{topics.DEAD_LETTER}: 0 of {HORRORS}, not 1",
        f"{topics.DEAD_LETTER}: 1 of {HORRORS.replace('contract_violation', 'bad_hair_day')}, not expected",
    ]


def test_a_record_without_an_id_is_found() -> None:
    records = correct_output()
    first = records[0]

    assert check([*records, replace(first, headers=())]) == [
        f"{first.topic}/{first.partition}/{first.offset}: no event id in the headers"
    ]


def test_an_expected_essay_that_was_not_sent_is_found() -> None:
    assert check(correct_output(), with_injected_error(traffic())) == lines_of(
        1,
        "1 events of completed, not 0",
        "completed with another count, course or user than was registered",
    )


def test_ranges_are_printed_with_their_bounds() -> None:
    assert (str(exactly(3)), str(CountRange(3, 5))) == ("3", "3 to 5")
    assert 4 in CountRange(3, 5)
    assert 6 not in CountRange(3, 5)
