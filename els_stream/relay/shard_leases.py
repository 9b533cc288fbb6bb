"""Which shards of the outbox this relay owns, and until when it may publish from them.

A relay owns a shard through a session advisory lock (PostgreSQL documentation, 13.3.5), on a dedicated connection that
does nothing else: a session that also listens can hang while it writes to a client that does not read, and keep its
locks. So at most one session owns a shard at any time. A session ends with its relay, with its network connection, or,
when the relay is stopped or frozen, after `session_idle_timeout_seconds` of silence. The relay stops publishing
earlier, `lease_seconds` after the last answer of PostgreSQL, by its own clock.

That does not exclude every copy: a frozen process may wake between its last check of the lease and the write to a
socket, and a request may be delayed in the network. So two relays may publish the same rows for a moment. The order
does not depend on ownership (see `els_stream.relay.service`). Ownership keeps copies rare, and an orderly rebalance
makes none: a relay releases a shard only when nothing of it is in flight.

A relay whose records the broker refuses, because its clock is wrong for instance, stands aside: it gives up its shards
and its membership for a while, if there are other relays, so that they publish the rows. Then it tries again.

Besides the shards that keys hash to, there are direct shards: a transaction of this process reserves one, writes its
rows there, and the relay publishes them without a fetch. Rows that remain there, and rows that others add, are fetched
like the rest.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from els_stream.backoff import Backoff
from els_stream.db.stale_sessions import require_writable_session
from els_stream.queries.outbox_rows import HASH_SHARDS, SHARD_COUNT
from els_stream.relay.dedicated_connection import dedicated_connection
from els_stream.relay.shard_rebalance import rebalance
from els_stream.relay.shards import DIRECT_SHARDS, Lease, Shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.relay.options import RelayOptions
    from els_stream.relay.status import RelayHealth

# Advisory locks are pairs of int4: this class and the shard. Every living relay has a shared lock on the number after
# the last shard.
LOCK_CLASS: Final = 0x656C_7378
MEMBERSHIP_KEY: Final = SHARD_COUNT
# Divided separately, so that every relay has some of each.
SHARD_GROUPS: Final = (range(HASH_SHARDS), DIRECT_SHARDS)

_READ_OWNERS = """
    SELECT objid::int AS shard, count(*)::int AS owners
    FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = $1::int8::oid
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY objid
"""
_LOCK = "SELECT s FROM unnest($2::int[]) AS s WHERE pg_try_advisory_lock($1, s)"
_UNLOCK = "SELECT pg_advisory_unlock($1, s) FROM unnest($2::int[]) AS s"
_JOIN = "SELECT pg_advisory_lock_shared($1, $2)"
_LEAVE = "SELECT pg_advisory_unlock_shared($1, $2)"


class ShardLeases:
    """The shards that this relay owns, and the batches that use them."""

    def __init__(
        self, engine: AsyncEngine, options: RelayOptions, health: RelayHealth, *, on_acquired: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._options = options
        self._health = health
        self._on_acquired = on_acquired
        self._shards = Shards()
        self._lease_until = 0.0
        self._check_again = asyncio.Event()
        self._joined = False
        self._refusals = 0
        self._aside_until = 0.0
        self.members = 0

    @property
    def owned(self) -> int:
        """The number of owned shards."""
        return len(self._shards.owned)

    @property
    def owned_shards(self) -> frozenset[int]:
        return self._shards.owned

    @property
    def epoch(self) -> int:
        """The number of connections that were lost."""
        return self._shards.epoch

    @property
    def poll_due(self) -> bool:
        """Whether idle shards may have events, and this relay may publish them."""
        return self._is_current() and self._shards.poll_due

    def mark_dirty(self) -> None:
        """Have all shards polled as soon as they are idle."""
        self._shards.mark_dirty()

    def begin_poll(self) -> Lease:
        """Lease the shards to be polled; none if the lease on PostgreSQL has run out."""
        return self._shards.begin_poll() if self._is_current() else Lease(self.epoch, frozenset())

    def end_poll(self, lease: Lease, found: AbstractSet[int]) -> frozenset[int]:
        """Release the shards in which the poll found nothing; return those of `found` that it may publish."""
        ours = self._shards.end_poll(lease, found)
        self._unlock_soon()
        return ours

    def reserve(self, only: int | None = None) -> Lease | None:
        """Lease one direct shard, or only the given shard, for events of this process; return None if none is free."""
        return self._shards.reserve(only) if self._is_current() else None

    def release(self, lease: Lease, shards: Iterable[int], *, dirty: bool) -> None:
        """Mark shards of the lease as unused; `dirty` ones may have events, and are polled."""
        self._shards.release(lease, shards, dirty=dirty)
        self._unlock_soon()

    def is_valid(self, lease: Lease) -> bool:
        """Return whether this relay still owns the shards of the lease; check it before each round."""
        return lease.epoch == self.epoch and self._is_current()

    def stand_aside(self) -> None:
        """Leave the shards to the other relays for a while, which grows with each call until `stand_in`."""
        if self._stands_aside():
            return
        self._refusals += 1
        pause = Backoff(self._options.deferral_initial_seconds, self._options.deferral_max_seconds)
        self._aside_until = time.monotonic() + pause.bound(self._refusals)
        self._check_again.set()

    def stand_in(self) -> None:
        """Take part again: the broker accepts this relay's records."""
        self._refusals, self._aside_until = 0, 0.0

    async def run(self) -> None:
        """Own a fair number of shards while the connection lasts; raise the error that ended it."""
        lost = asyncio.Event()

        def on_loss(_: object) -> None:
            self._lose()
            lost.set()
            self._check_again.set()

        idle_timeout = self._options.session_idle_timeout_seconds
        async with dedicated_connection(self._engine, idle_seconds=idle_timeout) as conn:
            try:
                conn.add_termination_listener(on_loss)
                while not lost.is_set():
                    async with asyncio.timeout(self._options.lease_seconds):
                        await self._check(conn)
                    self._health.clear_error("shards")
                    await self._pause()
            finally:
                self._lose()
        raise ConnectionError("the connection that owns the shards was lost")

    async def _check(self, conn: asyncpg.Connection) -> None:
        """Read who owns what, release the surplus, acquire free shards and renew the lease."""
        asked = time.monotonic()
        await require_writable_session(conn)
        owners = await self._read_owners(conn)
        if self._stands_aside() and self.members > self._joined:
            await self._leave(conn)
            self._lease_until = asked + self._options.lease_seconds
            return
        if not self._joined:
            await conn.execute(_JOIN, LOCK_CLASS, MEMBERSHIP_KEY)
            self._joined = True
            owners = await self._read_owners(conn)
        changes = [
            rebalance(group, owned=self._shards.owned, taken=owners.keys(), members=self.members, rng=SystemRandom())
            for group in SHARD_GROUPS
        ]
        await self._release_surplus(conn, frozenset().union(*(change.release for change in changes)))
        free = sorted(shard for change in changes for shard in change.acquire)
        if free:
            self._shards.add([row["s"] for row in await conn.fetch(_LOCK, LOCK_CLASS, free)])
        self._lease_until = asked + self._options.lease_seconds
        if free:
            self._on_acquired()

    async def _read_owners(self, conn: asyncpg.Connection) -> dict[int, int]:
        """Return the number of owners of each owned shard, and note the number of members."""
        owners = {row["shard"]: row["owners"] for row in await conn.fetch(_READ_OWNERS, LOCK_CLASS)}
        self.members = owners.pop(MEMBERSHIP_KEY, 0)
        return owners

    async def _leave(self, conn: asyncpg.Connection) -> None:
        """Give up the membership, so that the others take all shards, and each shard as soon as it is not in use."""
        if self._joined:
            await conn.execute(_LEAVE, LOCK_CLASS, MEMBERSHIP_KEY)
            self._joined = False
        await self._release_surplus(conn, self._shards.owned)

    async def _release_surplus(self, conn: asyncpg.Connection, surplus: frozenset[int]) -> None:
        """Unlock surplus shards that are not in use; others follow once they are not, and are not polled before."""
        self._shards.set_surplus(surplus)
        if unused := self._shards.to_unlock:
            self._shards.remove(unused)
            await conn.fetch(_UNLOCK, LOCK_CLASS, sorted(unused))

    def _unlock_soon(self) -> None:
        if self._shards.to_unlock:
            self._check_again.set()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.shard_check_interval_seconds):
                await self._check_again.wait()
        self._check_again.clear()

    def _stands_aside(self) -> bool:
        return time.monotonic() < self._aside_until

    def _is_current(self) -> bool:
        return time.monotonic() < self._lease_until

    def _lose(self) -> None:
        self._shards.lose()
        self._joined = False
        self._lease_until = 0.0
        self.members = 0
