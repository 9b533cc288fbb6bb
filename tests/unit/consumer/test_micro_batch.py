from __future__ import annotations

from els_stream.consumer.micro_batch import KeysInFlight, offset_ranges, single_records, split, take_records
from els_stream.consumer.partition_state import PartitionState
from tests.support.consumer_fakes import FakeRecord, fake_records, offsets_of, partition_at


def test_partitions_are_taken_one_after_the_other() -> None:
    quiet, busy = partition_at(partition=0), partition_at(partition=1)
    quiet.receive(fake_records(0, 3), "alpha")
    busy.receive(fake_records(0, 100), "alpha")
    batch = take_records([quiet, busy], 20, 1_000_000)
    assert {piece.state.partition.partition: len(piece.records) for piece in batch} == {0: 3, 1: 17}
    assert (quiet.next_take_offset, busy.next_take_offset) == (3, 17)


def test_with_long_queues_a_micro_batch_is_of_one_partition() -> None:
    """So two micro-batches in flight need different rows."""
    states = [partition_at(partition=number) for number in range(2)]
    for state in states:
        state.receive(fake_records(0, 100), "alpha")
    (piece,) = take_records(states, 20, 1_000_000)
    assert (piece.state, offsets_of((piece,))) == (states[0], list(range(20)))


def test_a_record_larger_than_the_limit_is_taken_alone() -> None:
    state = partition_at()
    state.receive([FakeRecord(0, b"x" * 5000), FakeRecord(1)], "alpha")
    assert offsets_of(take_records([state], 10, 1000)) == [0]
    assert offsets_of(take_records([state], 10, 1000)) == [1]
    assert state.queued_bytes == 0


def test_the_limit_in_bytes_ends_a_micro_batch() -> None:
    state = partition_at()
    state.receive([FakeRecord(number, b"x" * 700) for number in range(10)], "alpha")
    assert offsets_of(take_records([state], 100, 3000)) == [0, 1, 2]


def test_an_offset_range_covers_an_accepted_gap() -> None:
    state = partition_at(10)
    state.receive(fake_records(15, 1), "alpha")
    state.receive(fake_records(15, 1), "alpha")
    (taken,) = offset_ranges(take_records([state], 10, 1000))
    assert (taken.start, taken.stop) == (10, 16)


def test_halves_and_single_records_cover_the_batch_without_a_gap() -> None:
    one, two = partition_at(partition=0), partition_at(5, partition=1)
    one.receive(fake_records(0, 5), "alpha")
    two.receive(fake_records(5, 2), "alpha")
    batch = take_records([one, two], 100, 1_000_000)
    first, second = split(batch)
    assert offset_ranges((*first, *second)) == offset_ranges(batch)
    assert len(offsets_of(first)) == 3
    assert offset_ranges(tuple(single_records(batch))) == offset_ranges(batch)


def test_half_of_one_record_is_that_record() -> None:
    state = partition_at()
    state.receive(fake_records(0, 1), "alpha")
    first, second = split(take_records([state], 1, 1000))
    assert (first, offsets_of(second)) == ((), [0])


def keyed(*keys: str, partition: int = 0) -> PartitionState:
    """Return a partition in which records with these keys are queued."""
    state = partition_at(partition=partition)
    state.receive([FakeRecord(offset, key=key.encode()) for offset, key in enumerate(keys)], "alpha")
    return state


def test_a_partition_with_a_key_in_flight_is_left_out() -> None:
    """The transaction would wait for that one; in the queue other records join these."""
    busy, idle = keyed("blue", "red"), keyed("green", partition=1)
    queued = list(busy.queue), busy.queued_bytes, busy.next_take_offset
    in_flight = KeysInFlight(take_records([keyed("yellow", "red")], 10, 1_000_000))

    (piece,) = take_records([busy, idle], 10, 1_000_000, [in_flight])

    assert piece.state is idle
    assert (list(busy.queue), busy.queued_bytes, busy.next_take_offset) == queued


def test_a_full_micro_batch_is_taken_whatever_is_in_flight() -> None:
    """It can't grow while it waits, and is decoded meanwhile."""
    in_flight = [KeysInFlight(take_records([keyed("red")], 10, 1_000_000))]
    assert offsets_of(take_records([keyed("red", "red", "red")], 2, 1_000_000, in_flight)) == [0, 1]
    large = keyed("red", "red", "red")
    assert offsets_of(take_records([large], 10, large.queued_bytes - 1, in_flight)) == [0, 1]


def test_records_without_a_key_wait_for_none() -> None:
    state, other = partition_at(), partition_at(partition=1)
    state.receive(fake_records(0, 2), "alpha")
    other.receive(fake_records(0, 1), "alpha")
    in_flight = [KeysInFlight(take_records([other], 10, 1_000_000))]
    assert offsets_of(take_records([state], 10, 1_000_000, in_flight)) == [0, 1]
