"""One step of the last hour, from two readings of the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from els_stream.queries.dashboard import DashboardSnapshot, StoredOffsetAge
from els_stream.web.history import Sample, step

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def glance(seconds: int, *ledger: StoredOffsetAge, waited: float | None = None) -> DashboardSnapshot:
    return DashboardSnapshot(ledger, [], 0 if waited is None else 1, waited, NOON + timedelta(seconds=seconds))


def place(offset: int, *, topic: str = CONTENT_PROVISIONED, partition: int = 0, moved: int = 0) -> StoredOffsetAge:
    return StoredOffsetAge("prefix." + topic, partition, offset, NOON + timedelta(seconds=moved), 0.25)


def test_intake_is_what_the_ledger_moved_over_all_partitions() -> None:
    before = glance(0, place(100), place(10, partition=1))

    assert step(before, glance(5, place(150), place(60, partition=1)), 1.5) == Sample(20, None, 1.5)


def test_a_new_partition_and_one_that_began_again_count_from_the_next_time_on() -> None:
    before = glance(0, place(100))

    assert step(before, glance(5, place(3), place(9000, partition=1)), None).intake_per_second == 0


def test_completion_is_what_the_tables_know_and_how_old_contents_were_when_they_came() -> None:
    now = glance(5, place(200, moved=3), place(9, topic=BATCH_REGISTERED, moved=3), waited=0.5)

    assert step(glance(0), now, None).completion_seconds == 0.75
    assert step(glance(0), glance(5, place(200, moved=-60), waited=0.5), None).completion_seconds == 0.5
    assert step(glance(0), glance(5, place(200, moved=3)), None).completion_seconds is None
