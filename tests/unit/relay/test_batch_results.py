"""What a relay deletes, moves aside and leaves, for any outcomes of the events of a batch."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from els_stream.queries.outbox_rows import WaitingRow
from els_stream.queries.outbox_segments import Segment
from els_stream.relay.batch_results import BatchResults, results_of
from els_stream.relay.key_order import Acked, DeliveryOutcome, DeliveryUnknown, KeyOrder, Rejected, RelayRefused
from els_stream.relay.publish_batch import PublishBatch
from els_stream.relay.shards import Lease

LEASE = Lease(0, frozenset(range(96)))
OUTCOMES = st.sampled_from([Acked(), Acked(), Acked(), Rejected("large"), DeliveryUnknown("?"), RelayRefused("clock")])


def waiting(key: str, sequence: int, shard: int) -> WaitingRow:
    return WaitingRow(shard, key, UUID(int=sequence), "topic", key.encode(), b"", b"[]", 0, None, sequence)


@st.composite
def batches(draw: st.DrawFn) -> PublishBatch:
    """Segments of two shards; each key is in one of them. Some keys have exceptions."""
    sequences: defaultdict[str, int] = defaultdict(int)

    def row(shard: int, key: str) -> WaitingRow:
        sequences[key] += 1
        return waiting(key, sequences[key], shard)

    blocked = draw(st.frozensets(st.sampled_from(["0a", "1a"])))
    exceptions = [row(0, key) for key in sorted(blocked)]
    segments = [
        Segment(shard, position, [row(shard, f"{shard}{key}") for key in keys])
        for shard in (0, 1)
        for position, keys in enumerate(draw(st.lists(st.text("abc", min_size=1, max_size=4), max_size=4)))
    ]
    return PublishBatch(LEASE, segments, exceptions, blocked)


def run(batch: PublishBatch, outcomes: list[DeliveryOutcome]) -> KeyOrder:
    order = KeyOrder(batch.rows)
    given_outcomes = iter(outcomes)
    for _ in range(len(batch.rows)):
        runs = order.next_round()
        order.apply_results([(one[0], next(given_outcomes, Acked())) for one in runs])
    return order


@given(batches(), st.lists(OUTCOMES, max_size=20))
def test_nothing_is_lost_and_the_order_of_every_key_holds(batch: PublishBatch, outcomes: list[DeliveryOutcome]) -> None:
    order = run(batch, outcomes)

    results = results_of(batch, order)

    acked = {id(row) for row in order.acked}
    moved = {id(one.row) for one in results.left}
    finished = [*results.done, *results.moved]
    for segment in finished:
        assert all((id(row) in acked) != (id(row) in moved) for row in segment.rows), "each event is acked or moved"
    for shard in (0, 1):
        of_shard = [segment for segment in batch.segments if segment.shard == shard]
        count = sum(segment in finished for segment in of_shard)
        assert all(segment in finished for segment in of_shard[:count]), "the first ones, without a gap"
    refused = {one.row.order_key for one in order.refused} - batch.blocked
    assert not refused & {one.row.order_key for one in results.left}, "a fault of the relay is no fault of an event"
    assert {id(one) for one in results.acked} == acked & {id(row) for row in batch.exceptions}


@given(batches(), st.lists(OUTCOMES, max_size=20))
def test_of_each_key_at_most_the_first_event_that_is_moved_has_failed(
    batch: PublishBatch, outcomes: list[DeliveryOutcome]
) -> None:
    results = results_of(batch, run(batch, outcomes))

    by_key: defaultdict[str, list[str | None]] = defaultdict(list)
    for one in results.left:
        by_key[one.row.order_key].append(one.error)
    assert all(error is None for errors in by_key.values() for error in errors[1:])
    assert all(errors == [None] * len(errors) for key, errors in by_key.items() if key in batch.blocked)


def test_a_refused_event_in_the_middle_leaves_no_segment_behind() -> None:
    rows = [waiting("a", 1, 0), waiting("bad", 1, 0), waiting("bad", 2, 0), waiting("b", 1, 0)]
    batch = PublishBatch(LEASE, [Segment(0, 1, rows)])
    order = KeyOrder(batch.rows)
    order.apply_results([(rows[0], Acked()), (rows[1], Rejected("large")), (rows[3], Acked())])

    results = results_of(batch, order)

    assert results.moved == [batch.segments[0]]
    assert [(one.row, one.error) for one in results.left] == [(rows[1], "large"), (rows[2], None)]


def test_an_outage_writes_nothing_back() -> None:
    rows = [waiting("a", 1, 0), waiting("b", 1, 0)]
    batch = PublishBatch(LEASE, [Segment(0, 1, rows)])
    order = KeyOrder(batch.rows)
    order.apply_results([(row, DeliveryUnknown("no answer")) for row in rows])

    assert results_of(batch, order) == BatchResults()
    assert not results_of(batch, order)


def test_positions_that_went_back_do_not_change_the_order_of_a_key() -> None:
    rows = [waiting("a", 3, 0), waiting("a", 1, 0), waiting("b", 1, 0), waiting("a", 2, 0)]

    [of_a, _] = KeyOrder(rows).next_round()

    assert [row.sequence for row in of_a] == [1, 2, 3]
