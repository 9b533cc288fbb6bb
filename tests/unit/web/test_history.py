"""One sample of the history, made of two snapshots of the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from els_stream.queries.dashboard import DashboardSnapshot, StoredOffsetAge
from els_stream.web.history import Sample, make_sample

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def snapshot(seconds: int, *offsets: StoredOffsetAge, waited: float | None = None) -> DashboardSnapshot:
    return DashboardSnapshot(offsets, [], [], 0 if waited is None else 1, waited, NOON + timedelta(seconds=seconds))


def stored(offset: int, *, topic: str = CONTENT_PROVISIONED, partition: int = 0, updated: int = 0) -> StoredOffsetAge:
    return StoredOffsetAge("prefix." + topic, partition, offset, NOON + timedelta(seconds=updated), 0.25)


def test_records_per_second_are_summed_over_all_partitions() -> None:
    previous = snapshot(0, stored(100), stored(10, partition=1))
    current = snapshot(5, stored(150), stored(60, partition=1))

    assert make_sample(previous, current, 1.5) == Sample(20, None, 1.5)


def test_a_new_partition_and_an_offset_that_went_back_add_no_records() -> None:
    current = snapshot(5, stored(3), stored(9000, partition=1))

    assert make_sample(snapshot(0, stored(100)), current, None).records_per_second == 0


def test_completion_time_includes_the_delay_of_contents_stored_since_the_last_sample() -> None:
    current = snapshot(5, stored(200, updated=3), stored(9, topic=BATCH_REGISTERED, updated=3), waited=0.5)

    assert make_sample(snapshot(0), current, None).completion_seconds == 0.75
    old_content = snapshot(5, stored(200, updated=-60), waited=0.5)
    assert make_sample(snapshot(0), old_content, None).completion_seconds == 0.5
    assert make_sample(snapshot(0), snapshot(5, stored(200, updated=3)), None).completion_seconds is None
