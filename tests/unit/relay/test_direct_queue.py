"""The queue of events that are published from memory never has more bytes than its limit."""

from __future__ import annotations

from itertools import count
from typing import Final
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from els_stream.queries.outbox_rows import WaitingRow
from els_stream.queries.outbox_segments import Segment
from els_stream.relay.chains import Chains
from els_stream.relay.publish_batch import DirectQueue, PublishBatch
from els_stream.relay.shards import Lease

LIMIT: Final = 1000
LEASE: Final = Lease(0, frozenset({64}))
SIZES: Final = st.integers(0, LIMIT + 200)


def segment(position: int, size: int) -> Segment:
    return Segment(64, position, [WaitingRow(64, "9b", UUID(int=1), "topic", None, bytes(size), b"", 0)])


@given(st.lists(st.one_of(st.none(), SIZES)))
def test_direct_publish_waits_in_memory_up_to_its_limit(steps: list[int | None]) -> None:
    """A number adds a batch of that size, None takes one. What has no room waits in the outbox."""
    queue, waiting = DirectQueue(LIMIT), list[int]()
    for size in steps:
        if size is None:
            if queue:
                assert queue.take().segments[0].bytes == waiting.pop(0)
        elif queue.add(PublishBatch(LEASE, [segment(1, size)])):
            waiting.append(size)
        else:
            assert sum(waiting) + size > LIMIT
        assert sum(waiting) <= LIMIT
        assert bool(queue) == bool(waiting)


@given(st.lists(st.one_of(st.none(), SIZES)))
def test_segments_behind_others_wait_in_memory_up_to_their_limit(steps: list[int | None]) -> None:
    """A number adds a segment of that size, None ends the batch before it."""
    chains, positions, waiting = Chains(LIMIT), count(1), list[int]()
    for size in steps:
        chains.start(LEASE, [segment(0, 0)])
        if size is None:
            assert [one.bytes for one in chains.take(64, LEASE, acked=True)] in (waiting, [])
            waiting = []
        elif chains.append(segment(next(positions), size), {0}):
            waiting.append(size)
        else:
            assert sum(waiting) + size > LIMIT
        assert sum(waiting) <= LIMIT
