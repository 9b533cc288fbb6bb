"""The shards of one relay and what each is used for: IDLE, POLLING, PUBLISHING or RELEASING, and dirty or clean.

    IDLE        -> POLLING     a poll begins; it takes the dirty shards and makes them clean first
    IDLE        -> PUBLISHING  reserved for a transaction of this process
    POLLING     -> PUBLISHING  the poll found events, or the shard was reserved meanwhile
    POLLING     -> IDLE        the poll found none in it
    PUBLISHING  -> IDLE        nothing of it is in flight any more
    any         -> RELEASING   it is surplus; it is not polled nor reserved, and unlocked as soon as it has no user

A shard is clean only if a poll that began after its last write found nothing. So whatever may have left events in a
shard makes it dirty: a notification, the interval of polls, a poll that found something, a direct publish that failed
or had no room.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from els_stream.queries.outbox_rows import HASH_SHARDS, SHARD_COUNT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from collections.abc import Set as AbstractSet

DIRECT_SHARDS: Final = range(HASH_SHARDS, SHARD_COUNT)


class ShardState(enum.Enum):
    IDLE = enum.auto()
    POLLING = enum.auto()
    PUBLISHING = enum.auto()
    RELEASING = enum.auto()


_RESERVABLE: Final = (ShardState.IDLE, ShardState.POLLING)


@dataclass(frozen=True, slots=True)
class Lease:
    """Shards that one batch uses. It ends for good when the connection is lost, even if the relay owns them again.

    `epoch` counts the connections that were lost.
    """

    epoch: int
    shards: frozenset[int]

    @property
    def shard(self) -> int:
        """The only shard, of a reservation."""
        (shard,) = self.shards
        return shard


@dataclass(slots=True)
class Shard:
    """`user` is the lease that uses it. After a lost connection a shard may have a user without being owned."""

    owned: bool = False
    dirty: bool = False
    state: ShardState = ShardState.IDLE
    user: Lease | None = None


class Shards:
    """All shards of the outbox, as one relay sees them."""

    def __init__(self) -> None:
        self._all: Final = [Shard() for _ in range(SHARD_COUNT)]
        self._last_reserved = 0
        self.owned: frozenset[int] = frozenset()
        self.epoch = 0

    def __getitem__(self, number: int) -> Shard:
        return self._all[number]

    @property
    def poll_due(self) -> bool:
        return next(self._to_poll(), None) is not None

    @property
    def to_unlock(self) -> frozenset[int]:
        """Surplus shards without a user."""
        states = enumerate(self._all)
        return frozenset(n for n, one in states if one.state is ShardState.RELEASING and one.user is None)

    def mark_dirty(self, numbers: Iterable[int] = range(SHARD_COUNT)) -> None:
        """Have shards polled as soon as they are idle: they may have events."""
        for number in numbers:
            self._all[number].dirty = True

    def begin_poll(self) -> Lease:
        """Take the idle dirty shards, which are clean from now on, so that later writes make them dirty again."""
        lease = Lease(self.epoch, frozenset(self._to_poll()))
        for number in lease.shards:
            one = self._all[number]
            one.dirty, one.state, one.user = False, ShardState.POLLING, lease
        return lease

    def end_poll(self, lease: Lease, found: AbstractSet[int]) -> frozenset[int]:
        """Free the shards in which the poll found nothing; return those of `found` that it may publish.

        A shard that was reserved during the poll is not among them. If anything was found there may be more, anywhere:
        a fetch is limited.
        """
        ours = frozenset(number for number in found if self._all[number].user is lease)
        self.release(lease, lease.shards - ours, dirty=bool(found))
        self.mark_dirty(found)
        for number in ours:
            _publish(self._all[number])
        return ours

    def reserve(self, only: int | None = None) -> Lease | None:
        """Take one direct shard, or only the given shard, for events of this process; return None if none is free.

        It may take a shard away from the poll that is going on. Shards are reserved in turn, so that polls see each.
        """
        free = [number for number in (DIRECT_SHARDS if only is None else (only,)) if self._is_free(number)]
        if not free:
            return None
        number = min(free, key=lambda shard: (shard - self._last_reserved - 1) % SHARD_COUNT)
        if only is None:
            self._last_reserved = number
        lease = Lease(self.epoch, frozenset({number}))
        self._all[number].user = lease
        _publish(self._all[number])
        return lease

    def release(self, lease: Lease, numbers: Iterable[int], *, dirty: bool) -> None:
        """Free shards of the lease: nothing of them is in flight any more. `dirty`: events may be left in them."""
        for number in lease.shards.intersection(numbers):
            one = self._all[number]
            one.dirty = one.dirty or dirty
            if one.user is lease:
                one.user = None
                if one.state is not ShardState.RELEASING:
                    one.state = ShardState.IDLE

    def add(self, numbers: Collection[int]) -> None:
        """Note that this relay owns more shards; each may have events."""
        self.owned |= frozenset(numbers)
        for number in numbers:
            self._all[number].owned = True
        self.mark_dirty(numbers)

    def set_surplus(self, surplus: Collection[int]) -> None:
        """Mark as many shards for release as there are surplus ones; those that are marked already count first."""
        marked = [number for number, one in enumerate(self._all) if one.state is ShardState.RELEASING]
        ordered = [*marked, *sorted(set(surplus) - set(marked))]
        for number in ordered[: len(surplus)]:
            self._all[number].state = ShardState.RELEASING
        for number in marked[len(surplus) :]:
            _keep(self._all[number])

    def remove(self, numbers: AbstractSet[int]) -> None:
        """Note that these shards, which have no user, are no longer owned."""
        self.owned -= numbers
        for number in numbers:
            self._all[number] = Shard()

    def lose(self) -> None:
        """Note that the connection is lost: nothing is owned. Batches in flight end by themselves."""
        self.epoch += 1
        self.owned = frozenset()
        for one in self._all:
            one.owned = False
            if one.state is ShardState.RELEASING:
                _keep(one)

    def _to_poll(self) -> Iterator[int]:
        for number, one in enumerate(self._all):
            if one.owned and one.dirty and one.state is ShardState.IDLE:
                yield number

    def _is_free(self, number: int) -> bool:
        return self._all[number].owned and self._all[number].state in _RESERVABLE


def _publish(one: Shard) -> None:
    if one.state is not ShardState.RELEASING:
        one.state = ShardState.PUBLISHING


def _keep(one: Shard) -> None:
    """End the release of a shard that is no longer surplus."""
    one.state = ShardState.IDLE if one.user is None else ShardState.PUBLISHING
