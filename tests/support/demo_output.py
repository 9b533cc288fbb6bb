"""A correct output of a small demo, and the differences that the check finds when a test changes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from els_stream.demo.check import differences
from els_stream.demo.expectations import Traffic
from els_stream.demo.observations import Observations
from els_stream.demo.random_source import RandomSource
from els_stream.demo.scenarios import SCENARIOS
from els_stream.demo.traffic import make_traffic
from els_stream.events.records import RawRecord
from tests.support.reference_service import outputs

SEED = 7
# The first batches with an assignment, a completion, and excess contents or failed files.
ASSIGNED, COMPLETED, EXCESS = 4, 3, 8
WITHOUT_ASSIGNMENT = [
    "5 slots assigned, not 6",
    "0 events of excess, not 1",
    "0 events of validation errors, not 1",
    "completed with 6 essays, which are not the 5 assigned",
    "ready with 6 essays, which are not the 5 assigned",
]


@cache
def traffic() -> Traffic:
    return make_traffic(SEED, batches=len(SCENARIOS), largest=9)


def correct_output() -> list[RawRecord]:
    """Return the first copy of each event."""
    first: dict[bytes, RawRecord] = {}
    for record in outputs(traffic(), RandomSource(SEED)):
        first.setdefault(dict(record.headers)["ce_id"], record)
    return list(first.values())


def check(records: Iterable[RawRecord], against: Traffic | None = None) -> list[str]:
    observations = Observations()
    for record in records:
        observations.add(record)
    return differences(against or traffic(), observations)


def lines_of(batch: int, *lines: str) -> list[str]:
    return [f"batch-{batch:03} ({SCENARIOS[batch - 1].title}): {line}" for line in lines]


def first_of(topic: str, records: list[RawRecord]) -> RawRecord:
    return next(record for record in records if record.topic == topic)


def changed(record: RawRecord, change: Callable[[dict[str, Any]], object]) -> RawRecord:
    whole = json.loads(record.value or b"")
    change(whole["data"])
    return replace(record, value=json.dumps(whole).encode())
