"""The check must fail: each test spoils what came out of a right run in one way and reads the line that says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from els_stream.demo.check import differences
from els_stream.demo.expectations import Between, Traffic, exactly
from els_stream.demo.observations import Observations
from els_stream.demo.random_source import RandomSource
from els_stream.demo.scenarios import STORIES
from els_stream.demo.traffic import Mix, make_traffic
from els_stream.events import builders, topics
from els_stream.events.event_ids import event_id
from els_stream.events.outbound_event import EventContext
from els_stream.events.records import RawRecord
from tests.support.reference_service import outputs

SEED = 7


@cache
def traffic() -> Traffic:
    return make_traffic(SEED, batches=len(STORIES), largest=9)


def right() -> list[RawRecord]:
    seen: dict[bytes, RawRecord] = {}
    for record in outputs(traffic(), RandomSource(SEED)):
        seen.setdefault(dict(record.headers)["ce_id"], record)
    return list(seen.values())


def judged(records: Iterable[RawRecord], against: Traffic | None = None) -> list[str]:
    transcript = Observations()
    for record in records:
        transcript.see(record)
    return differences(against or traffic(), transcript)


def one(topic: str, records: list[RawRecord]) -> RawRecord:
    return next(record for record in records if record.topic == topic)


def renamed(record: RawRecord, subject: str = "another fact") -> RawRecord:
    """The same event told under another id, in headers and envelope."""
    identity = str(event_id(record.topic, "batch-001", subject))
    headers = tuple((n, identity.encode() if n in {"ce_id", "event_id"} else v) for n, v in record.headers)
    whole = json.loads(record.value or b"") | {"event_id": identity}
    return replace(record, headers=headers, value=json.dumps(whole).encode())


def changed(record: RawRecord, change: Callable[[dict[str, Any]], object]) -> RawRecord:
    whole = json.loads(record.value or b"")
    change(whole["data"])
    return replace(record, value=json.dumps(whole).encode())


def test_what_came_out_right_has_no_differences() -> None:
    assert judged(right()) == []


@pytest.mark.parametrize(
    ("topic", "line"),
    [
        (topics.SLOT_ASSIGNED, "slots assigned, not"),
        (topics.PROVISIONING_COMPLETED, "0 events of completed, not 1"),
        (topics.ESSAYS_READY, "0 events of ready, not 1"),
        (topics.EXCESS_CONTENT, "events of excess, not"),
        (topics.VALIDATION_ERRORS, "0 events of validation errors, not 1"),
        (topics.DEAD_LETTER, "huleedu.els.dead.letter.v1: "),
    ],
)
def test_an_event_that_never_came_is_missed(topic: str, line: str) -> None:
    records = right()
    records.remove(one(topic, records))

    assert any(line in found for found in judged(records))


@pytest.mark.parametrize(
    ("topic", "line"),
    [
        (topics.SLOT_ASSIGNED, "was assigned 2 times"),
        (topics.PROVISIONING_COMPLETED, "2 events of completed, not 1"),
        (topics.ESSAYS_READY, "2 events of ready, not 1"),
        (topics.EXCESS_CONTENT, "was excess 2 times"),
        (topics.VALIDATION_ERRORS, "2 events of validation errors, not 1"),
    ],
)
def test_a_fact_told_under_two_ids_is_noticed(topic: str, line: str) -> None:
    records = right()

    assert any(line in found for found in judged([*records, renamed(one(topic, records))]))


def test_a_copy_is_no_difference_unless_it_says_something_else() -> None:
    records = right()
    ready = one(topics.ESSAYS_READY, records)

    assert judged([*records, ready]) == []
    lines = judged([*records, replace(ready, value=(ready.value or b"") + b" ")])
    assert [line for line in lines if "said something else" in line]
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("topic", "field", "told", "line"),
    [
        (topics.SLOT_ASSIGNED, "essay_id", "essay-of-the-dog", "is not of this batch"),
        (topics.SLOT_ASSIGNED, "original_file_name", "Homework by ChatGPT.docx", "otherwise than it was sent"),
        (topics.SLOT_ASSIGNED, "text_storage_id", "text-of-nobody", "otherwise than it was sent"),
        (topics.SLOT_ASSIGNED, "correlation_id", "00000000-0000-4000-8000-000000000000", "two correlation ids"),
        (topics.EXCESS_CONTENT, "original_file_name", "Homework by ChatGPT.docx", "otherwise than it was sent"),
        (topics.PROVISIONING_COMPLETED, "provisioned_count", 4711, "which are not the"),
        (topics.PROVISIONING_COMPLETED, "essays_for_processing", [], "which are not the"),
        (topics.PROVISIONING_COMPLETED, "expected_count", 4711, "another count, course or user"),
        (topics.PROVISIONING_COMPLETED, "user_id", "count-olaf", "another count, course or user"),
        (topics.ESSAYS_READY, "ready_essays", [], "which are not the"),
        (topics.VALIDATION_ERRORS, "failed_essays", [], "which are not the"),
        (topics.VALIDATION_ERRORS, "error_summary.total_errors", 4711, "adds up to something else"),
        (topics.SLOT_ASSIGNED, "batch_id", "batch-of-nobody", "nobody sent anything about this batch"),
        (topics.SLOT_ASSIGNED, "batch_id", "batch-of-nobody", "has another key"),
        (topics.SLOT_ASSIGNED, "event", "essay.eaten.by.dog", "breaks its contract"),
    ],
)
def test_a_field_that_says_something_else_is_noticed(topic: str, field: str, told: object, line: str) -> None:
    def change(data: dict[str, Any]) -> None:
        *path, last = field.split(".")
        for step in path:
            data = data[step]
        data[last] = told

    records = right()
    spoilt = one(topic, records)
    records[records.index(spoilt)] = changed(spoilt, change)

    assert any(line in found for found in judged(records))


def test_a_wrong_verdict_on_a_failed_batch_is_noticed() -> None:
    records = right()
    told = one(topics.VALIDATION_ERRORS, records)

    def change(data: dict[str, Any]) -> None:
        data["error_summary"]["critical_failure"] = not data["error_summary"]["critical_failure"]

    records[records.index(told)] = changed(told, change)

    assert any("critical" in line for line in judged(records))


def test_an_event_told_too_early_is_noticed() -> None:
    records = right()
    for topic, line in (
        (topics.PROVISIONING_COMPLETED, "completed was sent before assigned"),
        (topics.ESSAYS_READY, "ready was sent before completed"),
        (topics.EXCESS_CONTENT, "excess was sent before completed"),
    ):
        early = one(topic, records)
        hasty = [replace(record, timestamp=-1) if record is early else record for record in records]

        assert any(line in found for found in judged(hasty))


def test_content_with_two_fates_is_noticed() -> None:
    records = right()
    excess = one(topics.EXCESS_CONTENT, records)
    assigned = next(r for r in records if r.topic == topics.SLOT_ASSIGNED and r.key == excess.key)
    text = json.loads(assigned.value or b"")["data"]["text_storage_id"]
    records[records.index(excess)] = changed(excess, lambda data: data.update(text_storage_id=text))

    assert any("has two fates" in line for line in judged(records))


def test_a_dead_letter_for_another_reason_is_noticed() -> None:
    records = right()
    letter = one(topics.DEAD_LETTER, records)
    headers = tuple((n, b"bad_hair_day" if n == "dlq_reason" else v) for n, v in letter.headers)
    records[records.index(letter)] = replace(letter, headers=headers)

    assert any("bad_hair_day" in line and "nobody expected" in line for line in judged(records))


def test_a_record_without_an_id_is_noticed() -> None:
    records = right()

    assert any("no event id" in line for line in judged([*records, replace(records[0], headers=())]))


def test_a_promise_of_more_than_was_sent_is_noticed() -> None:
    promises = traffic().promises
    greedy = replace(promises[0], essay_ids=promises[0].essay_ids | {"essay-of-the-dog"})

    assert judged(right(), replace(traffic(), promises=(greedy, *promises[1:])))


def test_bounds_read_well() -> None:
    assert (str(exactly(3)), str(Between(3, 5))) == ("3", "3 to 5")
    assert 4 in Between(3, 5)
    assert 6 not in Between(3, 5)


def timeout(ready: dict[str, str], missing: list[str], expected: int, batch_id: str) -> RawRecord:
    event = builders.readiness_timeout(
        EventContext(batch_id=batch_id, correlation_id=RandomSource(1).uuid(), now=datetime(2026, 1, 31, tzinfo=UTC)),
        essays=ready.items(),
        missing_essay_ids=missing,
        expected_count=expected,
        timeout_duration_seconds=15,
    )
    return RawRecord(event.topic, 0, 0, 0, event.key, event.value, event.headers)


def of_timeouts(lines: list[str]) -> list[str]:
    return [line for line in lines if "timeout" in line]


def test_batches_that_never_fill_time_out_once_where_the_deadline_is_short() -> None:
    overdue = make_traffic(SEED, batches=len(STORIES), largest=9, mix=Mix(overdue=True))
    late = [promise for promise in overdue.promises if promise.registered and not promise.full]
    assert late
    told = [timeout({}, sorted(promise.essay_ids), promise.slots, promise.batch_id) for promise in overdue.promises]

    assert len(of_timeouts(judged([], overdue))) == len(late)
    assert of_timeouts(judged([timeout({}, ["no such slot"], 1, late[0].batch_id)], overdue))
    unregistered = [promise for promise in overdue.promises if not promise.registered]
    assert len(of_timeouts(judged(told, overdue))) == len(unregistered)
    assert len(of_timeouts(judged(told))) >= len(late)


@pytest.mark.parametrize(
    ("ready", "missing", "expected"),
    [({"essay": "a text that nobody sent"}, [], 1), ({}, ["a slot of somebody else"], 3), ({}, [], 3)],
)
def test_a_timeout_that_tells_of_what_is_not_is_a_difference(
    ready: dict[str, str], missing: list[str], expected: int
) -> None:
    overdue = make_traffic(SEED, batches=len(STORIES), largest=9, mix=Mix(overdue=True))
    late = next(promise for promise in overdue.promises if promise.registered and not promise.full)

    lines = of_timeouts(judged([timeout(ready, missing, expected, late.batch_id)], overdue))

    assert any(late.batch_id in line and "events of" not in line for line in lines)
