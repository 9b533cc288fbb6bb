from __future__ import annotations

from els_stream.consumer.partition_state import LogReplaced, PositionReset, Queued
from tests.support.consumer_fakes import FakeRecord, fake_records, partition_at


def test_records_that_continue_the_partition_are_queued() -> None:
    state = partition_at(10)
    assert state.receive(fake_records(10, 3), "alpha") == Queued()
    assert [record.offset for record in state.queue] == [10, 11, 12]
    assert state.next_fetch_offset == 13


def test_the_last_processed_record_is_verified_and_not_queued() -> None:
    before, after = fake_records(9, 2)
    state = partition_at(10, fingerprint=before.fingerprint)
    assert state.receive([before, after], "alpha") == Queued()
    assert [record.offset for record in state.queue] == [10]


def test_another_record_at_the_last_processed_offset_is_another_log() -> None:
    state = partition_at(10, fingerprint=FakeRecord(9, b"as it was").fingerprint)
    assert state.receive([FakeRecord(9, b"as it is"), FakeRecord(10)], "alpha") == LogReplaced()
    assert not state.queue


def test_offsets_without_records_are_passed_over() -> None:
    """Transaction markers, aborted and compacted records: a fetch that began before them returned none."""
    state = partition_at(10)
    assert state.receive(fake_records(15, 2), "alpha", 19) == Queued()
    assert (state.next_fetch_offset, state.start) == (17, 19)


def test_offsets_that_the_log_lost_are_counted() -> None:
    state = partition_at(10)
    state.receive([], "alpha", 12)
    assert (state.skip_lost(20), state.start, state.next_fetch_offset) == (8, 20, 10)


def test_a_fetch_begins_at_the_record_to_verify_until_it_arrived() -> None:
    state = partition_at(10, fingerprint=FakeRecord(9).fingerprint)
    assert state.start == 9
    state.receive([], "alpha", 9)
    assert state.start == 9
    state.receive([FakeRecord(9)], "alpha", 10)
    assert state.start == 10


def test_the_lag_counts_from_what_was_queued() -> None:
    state = partition_at(10)
    state.log_end_offset = 30
    assert state.lag == 20
    state.receive(fake_records(10, 5), "alpha", 18)
    assert state.lag == 17


def test_records_below_the_expected_offset_are_not_queued() -> None:
    state = partition_at(10)
    assert state.receive(fake_records(4, 20), "alpha") == PositionReset()
    assert not state.queue


def test_a_header_without_a_value_becomes_an_empty_one() -> None:
    state = partition_at()
    state.receive([FakeRecord(0, headers=(("trace", None),))], "alpha")
    assert state.queue[0].headers == (("trace", b""),)
