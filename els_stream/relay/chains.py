"""Segments of this process that follow others in their shard, which this process is publishing.

Events of a batch that follow closely go to the shard in which the earlier ones wait. As soon as these are acked, the
next ones may be published from memory too: no poll has to read them back. A chain lasts while a shard is in use, and is
bounded, so that a poll sees the shard from time to time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from els_stream.queries.outbox_segments import Segment
    from els_stream.relay.shards import Lease

MAX_BATCHES: Final = 16
MAX_REMEMBERED: Final = 4096


@dataclass(slots=True)
class _Chain:
    """`seen` has the positions of all its segments, acked, in flight or waiting."""

    lease: Lease
    seen: set[int] = field(default_factory=set)
    waiting: list[Segment] = field(default_factory=list)
    batches: int = 0


class Chains:
    """The chains of all shards; `max_bytes` bounds the segments that wait in them."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._open: dict[int, _Chain] = {}
        self._acked: set[int] = set()
        self._remembered: deque[int] = deque()
        self._epoch = 0

    def start(self, lease: Lease, segments: Iterable[Segment]) -> None:
        """Note segments that are about to be published under the lease; each of their shards has a chain now."""
        for segment in segments:
            chain = self._open.get(segment.shard)
            if chain is None or chain.lease is not lease:
                chain = self._open[segment.shard] = _Chain(lease)
            chain.seen.add(segment.position)

    def append(self, segment: Segment, after: AbstractSet[int]) -> bool:
        """Add a segment to the chain of its shard, if that has all segments in `after`; return whether it was added."""
        chain = self._open.get(segment.shard)
        if chain is None or not after <= chain.seen or self._bytes + segment.bytes > self._max_bytes:
            return False
        self._bytes += segment.bytes
        chain.seen.add(segment.position)
        chain.waiting.append(segment)
        return True

    def all_acked(self, positions: AbstractSet[int], epoch: int) -> bool:
        """Return whether this process had acks for all events of these segments, a short time ago.

        Nothing is remembered from before a lost connection: behind it may be another database.
        """
        return epoch == self._epoch and positions <= self._acked

    def has_waiting(self, shard: int, lease: Lease) -> bool:
        """Return whether segments wait in the chain of the shard."""
        chain = self._open.get(shard)
        return chain is not None and chain.lease is lease and bool(chain.waiting)

    def take(self, shard: int, lease: Lease, *, acked: bool) -> list[Segment]:
        """Return the segments that may be published now that the batch before them is completed; else end the chain.

        Nothing may follow a batch with events that are not `acked`.
        """
        chain = self._open.get(shard)
        if chain is None or chain.lease is not lease:
            return []
        self._bytes -= sum(segment.bytes for segment in chain.waiting)
        if acked and chain.waiting and chain.batches < MAX_BATCHES:
            chain.batches += 1
            following, chain.waiting = chain.waiting, []
            return following
        del self._open[shard]
        if acked:
            self._remember(lease.epoch, chain.seen - {segment.position for segment in chain.waiting})
        return []

    def _remember(self, epoch: int, positions: set[int]) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self._acked.clear()
            self._remembered.clear()
        self._acked |= positions
        self._remembered.extend(positions)
        while len(self._remembered) > MAX_REMEMBERED:
            self._acked.discard(self._remembered.popleft())
