from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import pytest

from els_stream.demo.expectations import Traffic
from els_stream.demo.random_source import RandomSource
from els_stream.demo.scenarios import SCENARIOS
from els_stream.demo.traffic import Mix, make_traffic
from els_stream.events import builders
from els_stream.events.outbound_event import EventContext
from els_stream.events.records import RawRecord
from tests.support.demo_output import SEED, check, lines_of, traffic


@cache
def overdue_traffic() -> Traffic:
    return make_traffic(SEED, batches=len(SCENARIOS), largest=9, mix=Mix(overdue=True))


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


def timeouts_of_all(traffic: Traffic) -> list[RawRecord]:
    return [timeout({}, sorted(batch.essay_ids), batch.slots, batch.batch_id) for batch in traffic.expectations]


def test_a_batch_that_never_fills_must_time_out_once() -> None:
    assert of_timeouts(check([], overdue_traffic())) == lines_of(7, "0 events of readiness timeout, not 1")


def test_a_batch_that_was_never_registered_must_not_time_out() -> None:
    assert of_timeouts(check(timeouts_of_all(overdue_traffic()), overdue_traffic())) == lines_of(
        16, "1 events of readiness timeout, not 0"
    )


def test_no_batch_may_time_out_where_the_deadline_is_long() -> None:
    assert of_timeouts(check(timeouts_of_all(traffic()))) == [
        line
        for batch in range(1, len(SCENARIOS) + 1)
        for line in lines_of(batch, "1 events of readiness timeout, not 0")
    ]


@pytest.mark.parametrize(
    ("ready", "missing", "expected", "lines"),
    [
        (
            {"essay": "a text that was not sent"},
            [],
            1,
            [
                "the timeout has counts 1 of 1",
                "the timeout has other slots than those of the batch",
                "the timeout has texts that were not sent",
            ],
        ),
        (
            {},
            ["a slot of another batch"],
            3,
            ["the timeout has counts 0 of 3", "the timeout has other slots than those of the batch"],
        ),
        ({}, [], 3, ["the timeout has counts 0 of 3", "the timeout has other slots than those of the batch"]),
    ],
)
def test_a_timeout_with_wrong_slots_is_found(
    ready: dict[str, str], missing: list[str], expected: int, lines: list[str]
) -> None:
    found = check([timeout(ready, missing, expected, "batch-007")], overdue_traffic())

    assert of_timeouts(found) == lines_of(7, *lines)
