"""Where passes begin and end: gives out rows, handed over or fetched, and writes back what became of them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from els_stream.queries import outbox
from els_stream.relay.publish_batch import DirectQueue, PublishBatch, ShardReservation
from els_stream.relay.supervision import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.queries.outbox import FailedRow, WaitingRow
    from els_stream.relay.health_counts import RelayHealth
    from els_stream.relay.options import RelayOptions
    from els_stream.relay.shard_leases import Lease, ShardLeases

DATABASE_TROUBLE: Final = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class Dispatcher:
    """Serves one lane at a time with work, so that while one waits for acks another fetches."""

    def __init__(self, engine: AsyncEngine, shards: ShardLeases, options: RelayOptions, health: RelayHealth) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._shares = shards
        self._options = options
        self._health = health
        self._turn = asyncio.Lock()
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._handed_over = DirectQueue(options.fetch_bytes)
        self._look_due = True
        self._look_first = False
        self._looks = 0
        self._first_share = 0
        self._closed = False

    def wake(self) -> None:
        """There may be rows to fetch."""
        self._look_due = True
        self._woken.set()

    def lend(self) -> ShardReservation | None:
        """None where rows had better wait in the outbox: nothing is sent now, or too much waits to be sent."""
        if self._closed or self._health.troubles:
            return None
        tenure = self._shares.lend()
        return None if tenure is None else ShardReservation(tenure, self._looks)

    def hand_over(self, loan: ShardReservation, rows: Sequence[WaitingRow]) -> None:
        """The committed rows of a loan, if there are any; where too much waits already, they are fetched."""
        work = PublishBatch(loan.tenure, rows, loan.looks)
        if rows and not self._closed and self._handed_over.add(work):
            self._begin(work)
            self._woken.set()
        else:
            self.take_back(loan, empty=not rows)

    def take_back(self, loan: ShardReservation, *, empty: bool) -> None:
        """Unless nothing was written for it, its shard is looked at."""
        self._check_in(loan.tenure, loan.tenure.shards, passed_by=not empty or loan.looks != self._looks)

    def close(self) -> None:
        """What nobody has begun to send stays in the outbox, and no more is lent."""
        self._closed = True
        while self._handed_over:
            self.finish(self._handed_over.take(), whole=False)

    async def next_work(self, *, on_idle: Callable[[], None]) -> PublishBatch:
        """Waits until something can be sent, and says so when there is nothing.

        What was handed over and what has to be fetched take turns: neither keeps the other waiting.
        """
        async with self._turn:
            while True:
                self._woken.clear()
                if self._look_due and (self._look_first or not self._handed_over):
                    self._look_first = self._look_due = False
                    work = await self._look()
                    if work.rows:
                        self._look_due = True
                        self._begin(work)
                        return work
                if self._handed_over:
                    self._look_first = True
                    return self._handed_over.take()
                on_idle()
                await self._wait()

    async def write_back(self, acked: Sequence[WaitingRow], held: Sequence[FailedRow]) -> None:
        """Tries until the database takes it: what is acked and not deleted would be sent again."""
        backoff = Backoff(self._options.retry_initial_seconds, self._options.retry_max_seconds)
        while True:
            try:
                await self._write(acked, held)
            except DATABASE_TROUBLE as error:
                self._health.trouble("database", error)
                await asyncio.sleep(backoff.next())
            else:
                self._health.fine("database")
                return

    def finish(self, work: PublishBatch, *, whole: bool) -> None:
        """Whatever of it is left in the outbox may be fetched again; `whole` says that nothing is."""
        self._health.in_flight -= len(work.rows)
        if not self._health.in_flight:
            self._idle.set()
        self._check_in(work.tenure, work.shards, passed_by=not whole or work.looks != self._looks)

    async def all_finished(self, seconds: float) -> None:
        """Waits until no work is out, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    def _check_in(self, tenure: Lease, shards: frozenset[int], *, passed_by: bool) -> None:
        """`passed_by`: rows of these shards may lie there, come since, or left by a limit, that no look has shown."""
        self._shares.check_in(tenure, shards)
        if passed_by:
            self.wake()

    def _begin(self, work: PublishBatch) -> None:
        self._health.in_flight += len(work.rows)
        self._idle.clear()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._options.poll_seconds):
                await self._woken.wait()
        except TimeoutError:
            self._look_due = True

    async def _look(self) -> PublishBatch:
        # Busy before the look: a shard given away in the middle of it would be fetched by two.
        tenure = self._shares.check_out()
        rows: Sequence[WaitingRow] = ()
        ours: frozenset[int] = frozenset()
        # Counted at both ends: what is lent before the end of a look may have been passed by.
        self._looks += 1
        try:
            if tenure.shards:
                rows = await self._fetch(tenure)
        finally:
            ours = self._shares.looked(tenure, {row.shard for row in rows})
            self._looks += 1
        return PublishBatch(tenure, [row for row in rows if row.shard in ours])

    async def _fetch(self, tenure: Lease) -> Sequence[WaitingRow]:
        """Begins behind the shard that was served last, so that a long one can't keep the others waiting."""
        turns = sorted(tenure.shards, key=lambda shard: (shard - self._first_share) % outbox.SHARES)
        async with self._engine.connect() as conn:
            rows = await outbox.fetch(conn, turns, rows=self._options.fetch_rows, size=self._options.fetch_bytes)
        self._health.fine("database")
        if rows:
            self._first_share = rows[-1].shard + 1
        return rows

    async def _write(self, acked: Sequence[WaitingRow], held: Sequence[FailedRow]) -> None:
        async with self._engine.connect() as conn:
            if acked:
                await outbox.delete(conn, acked)
            if held:
                shortest = timedelta(seconds=self._options.hold_initial_seconds)
                longest = timedelta(seconds=self._options.hold_max_seconds)
                await outbox.hold(conn, held, shortest=shortest, longest=longest)
