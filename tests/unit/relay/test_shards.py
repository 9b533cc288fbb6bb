"""The shards of a relay: a shard is clean only if a poll that began after its last write found nothing."""

from __future__ import annotations

from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from els_stream.queries.outbox_rows import HASH_SHARDS
from els_stream.relay.shards import DIRECT_SHARDS, Lease, Shards, ShardState

# Two of each kind show everything that any number does.
SHARDS: Final = (0, 1, HASH_SHARDS, HASH_SHARDS + 1)
SOME: Final = st.sets(st.sampled_from(SHARDS))


class OneRelay(RuleBasedStateMachine):
    """Shards beside a model of the outbox: the events of each shard, and those that a lease is about to publish."""

    def __init__(self) -> None:
        super().__init__()
        self.shards = Shards()
        self.written = 0
        self.events: dict[int, set[int]] = {number: set() for number in SHARDS}
        self.poll: Lease | None = None
        self.seen: dict[int, set[int]] = {}  # by the poll that is going on
        self.publishing: list[tuple[Lease, dict[int, set[int]]]] = []

    def write(self, number: int) -> int:
        self.written += 1
        self.events[number].add(self.written)
        return self.written

    @rule(numbers=SOME)
    def own(self, numbers: set[int]) -> None:
        self.shards.add(numbers - self.shards.owned)

    @rule(number=st.sampled_from(SHARDS))
    def another_process_writes(self, number: int) -> None:
        self.write(number)
        self.shards.mark_dirty()

    @precondition(lambda self: self.poll is None)
    @rule()
    def begin_poll(self) -> None:
        self.poll = self.shards.begin_poll()
        self.seen = {number: set(self.events[number]) for number in self.poll.shards}

    @precondition(lambda self: self.poll is not None)
    @rule(limit=st.integers(1, len(SHARDS)), whole=st.booleans())
    def end_poll(self, limit: int, *, whole: bool) -> None:
        """The fetch of a poll is limited: it may return only some shards, and only the first events of a shard."""
        assert self.poll is not None
        found = set(sorted(number for number, events in self.seen.items() if events)[:limit])
        ours = self.shards.end_poll(self.poll, found)
        assert ours == {number for number in found if self.shards[number].user is self.poll}
        fetched = {number: self.seen[number] if whole else {min(self.seen[number])} for number in ours}
        self.publishing.append((self.poll, fetched))
        self.poll, self.seen = None, {}

    @rule(only=st.none() | st.sampled_from(SHARDS))
    def reserve_and_commit(self, only: int | None) -> None:
        lease = self.shards.reserve(only)
        if lease is not None:
            assert lease.shard in (DIRECT_SHARDS if only is None else (only,))
            assert lease.shard in self.shards.owned
            self.publishing.append((lease, {lease.shard: {self.write(lease.shard)}}))

    @precondition(lambda self: self.publishing)
    @rule(data=st.data(), acked=st.booleans())
    def end_publishing(self, data: st.DataObject, *, acked: bool) -> None:
        lease, events = self.publishing.pop(data.draw(st.integers(0, len(self.publishing) - 1)))
        if acked:
            for number, published in events.items():
                self.events[number] -= published
        self.shards.release(lease, events, dirty=not acked)

    @rule(numbers=SOME)
    def divide(self, numbers: set[int]) -> None:
        """Another relay joins or leaves."""
        self.shards.set_surplus(numbers & self.shards.owned)
        unused = self.shards.to_unlock
        assert all(self.shards[number].user is None for number in unused)
        self.shards.remove(unused)

    @rule()
    def lose(self) -> None:
        self.shards.lose()

    @invariant()
    def a_clean_shard_has_only_events_that_are_read_or_published(self) -> None:
        for number in self.shards.owned:
            known = set(self.seen.get(number, ()))
            known |= {event for _, events in self.publishing for event in events.get(number, ())}
            assert self.shards[number].dirty or self.events[number] <= known

    @invariant()
    def a_shard_has_one_user(self) -> None:
        for number in SHARDS:
            shard = self.shards[number]
            users = [lease for lease, events in self.publishing if number in events]
            assert len(users) <= 1
            assert shard.user in (users or (None, self.poll))
            assert (shard.state is ShardState.IDLE) <= (shard.user is None)


TestOneRelay = OneRelay.TestCase
TestOneRelay.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
