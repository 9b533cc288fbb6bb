"""Segments that follow others from memory: only behind acks, and not for ever."""

from __future__ import annotations

from uuid import UUID

from els_stream.queries.outbox_rows import WaitingRow
from els_stream.queries.outbox_segments import Segment
from els_stream.relay.chains import MAX_BATCHES, MAX_REMEMBERED, Chains
from els_stream.relay.shards import Lease

LEASE = Lease(0, frozenset({5, 6}))


def segment(position: int, shard: int = 5) -> Segment:
    return Segment(shard, position, [])


def test_a_segment_follows_those_that_it_waits_for_once_they_are_acked() -> None:
    chains = Chains(1000)
    chains.start(LEASE, [segment(1)])

    assert chains.append(segment(2), {1})
    assert chains.append(segment(3), {1, 2})

    assert chains.take(5, LEASE, acked=True) == [segment(2), segment(3)]
    assert chains.take(5, LEASE, acked=True) == []
    assert chains.all_acked({1, 2, 3}, LEASE.epoch)


def test_a_segment_does_not_follow_what_the_chain_does_not_have() -> None:
    chains = Chains(1000)
    chains.start(LEASE, [segment(1)])

    assert not chains.append(segment(3), {1, 2})
    assert not chains.append(segment(3, shard=6), {1})
    assert not chains.all_acked({1}, LEASE.epoch)


def test_nothing_follows_a_batch_that_was_not_acked() -> None:
    chains = Chains(1000)
    chains.start(LEASE, [segment(1)])
    chains.append(segment(2), {1})

    assert chains.take(5, LEASE, acked=False) == []
    assert not chains.append(segment(3), {2})
    assert not chains.all_acked({1}, LEASE.epoch)


def test_segments_that_still_waited_at_the_end_of_a_chain_are_not_remembered_as_acked() -> None:
    chains = Chains(1000)
    chains.start(LEASE, [segment(0)])
    for position in range(1, MAX_BATCHES + 1):
        assert chains.append(segment(position), {position - 1})
        assert chains.take(5, LEASE, acked=True) == [segment(position)]
    assert chains.append(segment(MAX_BATCHES + 1), {MAX_BATCHES})

    assert chains.take(5, LEASE, acked=True) == []
    assert chains.all_acked({MAX_BATCHES}, LEASE.epoch)
    assert not chains.all_acked({MAX_BATCHES + 1}, LEASE.epoch)


def test_acks_from_before_a_lost_connection_do_not_count() -> None:
    chains = Chains(1000)
    chains.start(LEASE, [segment(1)])
    chains.take(5, LEASE, acked=True)

    assert not chains.all_acked({1}, LEASE.epoch + 1)

    later = Lease(LEASE.epoch + 1, frozenset({5}))
    chains.start(later, [segment(2)])
    chains.take(5, later, acked=True)
    assert chains.all_acked({2}, later.epoch)
    assert not chains.all_acked({1}, later.epoch)


def test_another_lease_of_the_shard_begins_another_chain() -> None:
    chains = Chains(1000)
    chains.start(LEASE, [segment(1)])
    chains.start(other := Lease(0, frozenset({5})), [segment(2)])

    assert chains.take(5, LEASE, acked=True) == []
    assert not chains.append(segment(3), {1})
    assert chains.append(segment(3), {2})
    assert chains.take(5, other, acked=True) == [segment(3)]


def test_the_memory_of_acks_is_bounded() -> None:
    chains = Chains(1000)
    for position in range(MAX_REMEMBERED + 10):
        chains.start(LEASE, [segment(position)])
        chains.take(5, LEASE, acked=True)

    assert not chains.all_acked({9}, LEASE.epoch)
    assert chains.all_acked(set(range(10, MAX_REMEMBERED + 10)), LEASE.epoch)


def test_the_segments_that_wait_are_bounded_in_bytes() -> None:
    large = Segment(5, 2, [WaitingRow(5, "9b", UUID(int=1), "topic", None, bytes(600), b"", 0)])
    chains = Chains(1000)
    chains.start(LEASE, [segment(1)])

    assert chains.append(large, {1})
    assert not chains.append(large._replace(position=3), {1, 2})
    assert not chains.append(segment(4), {3}), "it would overtake the one before"
    assert chains.take(5, LEASE, acked=True) == [large]
    assert chains.append(large._replace(position=5), {2})
