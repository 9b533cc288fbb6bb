from __future__ import annotations

from els_stream.consumer.partition_state import (
    LogReplaced,
    PositionReset,
    Queued,
    RefetchGap,
    halves,
    one_by_one,
    spans_of,
    take,
)
from tests.support.consumer_fakes import Fetched, fetched, offsets, part_at


def test_records_that_continue_the_partition_are_queued() -> None:
    part = part_at(10)
    assert part.receive(fetched(10, 3), "alpha") == Queued(0)
    assert [record.offset for record in part.queue] == [10, 11, 12]
    assert part.expected == 13


def test_the_last_handled_record_is_recognised_and_not_queued() -> None:
    before, after = fetched(9, 2)
    part = part_at(10, mark=before.mark)
    assert part.receive([before, after], "alpha") == Queued(0)
    assert [record.offset for record in part.queue] == [10]


def test_another_record_in_its_place_is_another_log() -> None:
    part = part_at(10, mark=Fetched(9, b"as it was").mark)
    assert part.receive([Fetched(9, b"as it is"), Fetched(10)], "alpha") == LogReplaced()
    assert not part.queue


def test_a_gap_is_read_again_once_and_then_believed() -> None:
    part = part_at(10)
    assert part.receive(fetched(15, 2), "alpha") == RefetchGap(10)
    assert not part.queue
    assert part.receive(fetched(15, 2), "alpha") == Queued(5)
    assert part.expected == 17


def test_a_position_that_went_back_queues_nothing() -> None:
    part = part_at(10)
    assert part.receive(fetched(4, 20), "alpha") == PositionReset()
    assert not part.queue


def test_a_header_without_value_is_an_empty_one() -> None:
    part = part_at()
    part.receive([Fetched(0, headers=(("trace", None),))], "alpha")
    assert part.queue[0].headers == (("trace", b""),)


def test_one_partition_is_taken_after_the_other_and_their_tails_move() -> None:
    quiet, busy = part_at(partition=0), part_at(partition=1)
    quiet.receive(fetched(0, 3), "alpha")
    busy.receive(fetched(0, 100), "alpha")
    batch = take([quiet, busy], 20, 1_000_000)
    assert {run.part.partition.partition: len(run.records) for run in batch} == {0: 3, 1: 17}
    assert (quiet.tail, busy.tail) == (3, 17)


def test_where_much_waits_a_micro_batch_is_of_one_partition_so_that_two_want_other_rows() -> None:
    parts = [part_at(partition=number) for number in range(2)]
    for part in parts:
        part.receive(fetched(0, 100), "alpha")
    (run,) = take(parts, 20, 1_000_000)
    assert (run.part, offsets((run,))) == (parts[0], list(range(20)))


def test_a_record_larger_than_the_limit_is_taken_alone() -> None:
    part = part_at()
    part.receive([Fetched(0, b"x" * 5000), Fetched(1)], "alpha")
    assert offsets(take([part], 10, 1000)) == [0]
    assert offsets(take([part], 10, 1000)) == [1]
    assert part.queued_bytes == 0


def test_the_limit_in_bytes_ends_a_micro_batch() -> None:
    part = part_at()
    part.receive([Fetched(number, b"x" * 700) for number in range(10)], "alpha")
    assert offsets(take([part], 100, 3000)) == [0, 1, 2]


def test_a_span_covers_a_gap_that_was_believed() -> None:
    part = part_at(10)
    part.receive(fetched(15, 1), "alpha")
    part.receive(fetched(15, 1), "alpha")
    (span,) = spans_of(take([part], 10, 1000))
    assert (span.start, span.stop) == (10, 16)


def test_halves_and_pieces_follow_each_other_without_a_gap() -> None:
    one, two = part_at(partition=0), part_at(5, partition=1)
    one.receive(fetched(0, 5), "alpha")
    two.receive(fetched(5, 2), "alpha")
    batch = take([one, two], 100, 1_000_000)
    first, second = halves(batch)
    assert spans_of((*first, *second)) == spans_of(batch)
    assert len(offsets(first)) == 3
    assert spans_of(tuple(one_by_one(batch))) == spans_of(batch)


def test_half_of_one_record_is_that_record() -> None:
    part = part_at()
    part.receive(fetched(0, 1), "alpha")
    first, second = halves(take([part], 1, 1000))
    assert (first, offsets(second)) == ((), [0])
