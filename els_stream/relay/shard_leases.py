"""Which shards of the outbox this relay owns, and until when it may act on that.

A shard is owned through a session advisory lock, on a connection of its own that does nothing else: a session that also
listens can hang in writing to a client that does not read, and keep its locks. So at any time at most one session holds
a shard, and a session ends with its relay, with its network, or, when the relay is stopped or frozen, after
`session_idle_seconds` without a word. The relay stops sending earlier, `lease_seconds` after it last heard from
PostgreSQL, by its own clock.

What that does not give: a frozen process may wake between its last look at the clock and the write to a socket, and a
request may lie in the network for a while. So two relays can send the same rows for a moment. Order does not rest on
ownership (see `els_stream.relay.service`); ownership keeps copies rare, and there are none in an orderly hand-over:
a shard is given back only when nothing of it is in flight.

Beside the shards that keys hash to there are some to lend: a transaction of this process writes into one, and its rows
are sent without being fetched. What they leave behind, and what others put to it, is fetched like the rest.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from els_stream.queries.outbox import HASHED, SHARES
from els_stream.relay.dedicated_connection import own_connection
from els_stream.relay.shard_rebalance import divide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.relay.health_counts import RelayHealth
    from els_stream.relay.options import RelayOptions

# Advisory locks are pairs of int4: this class, and the shard. The one after the last shard every living relay shares.
LOCK_CLASS: Final = 0x656C_7378
PRESENCE: Final = SHARES
# Divided apart, so that every relay has some of each.
LENDABLE: Final = range(HASHED, SHARES)
KINDS: Final = (range(HASHED), LENDABLE)

_LOOK = """
    SELECT objid::int AS shard, count(*)::int AS holders
    FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = $1::int8::oid
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY objid
"""
_TAKE = "SELECT s FROM unnest($2::int[]) AS s WHERE pg_try_advisory_lock($1, s)"
_GIVE = "SELECT pg_advisory_unlock($1, s) FROM unnest($2::int[]) AS s"
_BE_PRESENT = "SELECT pg_advisory_lock_shared($1, $2)"


@dataclass(frozen=True, slots=True)
class Lease:
    """Shards that are busy with one pass. It ends for good when the connection is lost, even if they come back."""

    term: int
    shards: frozenset[int]


class ShardLeases:
    def __init__(
        self, engine: AsyncEngine, options: RelayOptions, health: RelayHealth, *, changed: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._options = options
        self._health = health
        self._changed = changed
        self._owned: set[int] = set()
        self._busy: dict[int, Lease] = {}
        self._looking: Lease | None = None
        self._lent = 0
        self._leaving: set[int] = set()
        self._term = 0
        self._lease_until = 0.0
        self._look_again = asyncio.Event()
        self.relays = 0

    @property
    def owned(self) -> int:
        return len(self._owned)

    def check_out(self) -> Lease:
        """All that is idle becomes busy with a look; nothing while the lease is over."""
        self._looking = self._busy_with(self._owned - self._busy.keys() - self._leaving)
        return self._looking

    def looked(self, tenure: Lease, found: AbstractSet[int]) -> frozenset[int]:
        """The look is over: what it found nothing in is idle. Which of `found` it may go on with: some may be lent."""
        self._looking = None
        self.check_in(tenure, tenure.shards - found)
        return frozenset(shard for shard in found if self._busy.get(shard) is tenure)

    def lend(self) -> Lease | None:
        """One shard for rows that are yet to be written; a look that is going on does without it. None: none is free.

        In turn, so that each has time to be looked at.
        """
        free = [
            shard
            for shard in self._owned.intersection(LENDABLE) - self._leaving
            if shard not in self._busy or self._busy[shard] is self._looking
        ]
        if not free or not self._leased():
            return None
        self._lent = min(free, key=lambda shard: (shard - self._lent - 1) % SHARES)
        return self._busy_with({self._lent})

    def check_in(self, tenure: Lease, shards: Iterable[int]) -> None:
        """These shards of the tenure have nothing in flight any more."""
        for shard in tenure.shards.intersection(shards):
            if self._busy.get(shard) is tenure:
                del self._busy[shard]
        if self._leaving - self._busy.keys():
            self._look_again.set()

    def holds(self, tenure: Lease) -> bool:
        """Whether its shards are still ours: asked before each wave."""
        return tenure.term == self._term and self._leased()

    async def keep(self) -> None:
        """Owns a fair part for as long as the connection lasts, and ends with what ended it."""
        lost = asyncio.Event()

        def on_loss(_: object) -> None:
            self._lose()
            lost.set()
            self._look_again.set()

        async with own_connection(self._engine, idle_seconds=self._options.session_idle_seconds) as conn:
            try:
                conn.add_termination_listener(on_loss)
                await conn.execute(_BE_PRESENT, LOCK_CLASS, PRESENCE, timeout=self._options.lease_seconds)
                while not lost.is_set():
                    async with asyncio.timeout(self._options.lease_seconds):
                        await self._look(conn)
                    self._health.fine("shards")
                    await self._pause()
            finally:
                self._lose()
        raise ConnectionError("the connection that holds the shards was lost")

    async def _look(self, conn: asyncpg.Connection) -> None:
        """One round: see who is there, give back what is too much, take what is free, renew the lease."""
        asked = time.monotonic()
        holders = {row["shard"]: row["holders"] for row in await conn.fetch(_LOOK, LOCK_CLASS)}
        self.relays = holders.pop(PRESENCE, 1)
        divisions = [
            divide(kind, owned=self._owned, held=holders.keys(), relays=self.relays, chance=SystemRandom())
            for kind in KINDS
        ]
        await self._give(conn, frozenset().union(*(division.give for division in divisions)))
        free = sorted(shard for division in divisions for shard in division.take)
        if free:
            self._owned |= {row["s"] for row in await conn.fetch(_TAKE, LOCK_CLASS, free)}
        self._lease_until = asked + self._options.lease_seconds
        if free:
            self._changed()

    async def _give(self, conn: asyncpg.Connection, surplus: frozenset[int]) -> None:
        """Shards in flight leave when they are idle; until then nothing more of them is fetched."""
        stay = len(surplus) - len(self._leaving)
        self._leaving = set(sorted(self._leaving)[: len(surplus)]) | set(
            sorted(surplus - self._leaving)[: max(stay, 0)]
        )
        idle = self._leaving - self._busy.keys()
        if idle:
            self._owned -= idle
            self._leaving -= idle
            await conn.fetch(_GIVE, LOCK_CLASS, sorted(idle))

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.share_check_seconds):
                await self._look_again.wait()
        self._look_again.clear()

    def _busy_with(self, shards: AbstractSet[int]) -> Lease:
        tenure = Lease(self._term, frozenset(shards) if self._leased() else frozenset())
        self._busy |= dict.fromkeys(tenure.shards, tenure)
        return tenure

    def _leased(self) -> bool:
        return time.monotonic() < self._lease_until

    def _lose(self) -> None:
        # Busy ones stay busy: what they have in flight ends whoever owns them.
        self._owned, self._leaving = set(), set()
        self._term += 1
        self._lease_until = 0.0
        self.relays = 0
