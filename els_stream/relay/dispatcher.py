"""Gives the publishers batches of outbox rows, and writes the results back to the outbox.

Rows come from polls of the outbox and from transactions of this process (direct publish).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

from els_stream.backoff import Backoff
from els_stream.db.errors import DATABASE_ERRORS
from els_stream.queries import outbox
from els_stream.queries.outbox_rows import SHARD_COUNT
from els_stream.relay.publish_batch import DirectQueue, PublishBatch, ShardReservation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.queries.outbox_rows import FailedRow, WaitingRow
    from els_stream.relay.options import RelayOptions
    from els_stream.relay.shard_leases import Lease, ShardLeases
    from els_stream.relay.status import RelayHealth


class Dispatcher:
    """Serves one publisher at a time, so that one fetches while another waits for acks."""

    def __init__(self, engine: AsyncEngine, leases: ShardLeases, options: RelayOptions, health: RelayHealth) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._leases = leases
        self._options = options
        self._health = health
        self._turn = asyncio.Lock()
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._direct = DirectQueue(options.fetch_bytes)
        self._poll_due = True
        self._poll_first = False
        self._polls = 0
        self._first_shard = 0
        self._closed = False

    def wake(self) -> None:
        """Poll the outbox soon: it may have new rows."""
        self._poll_due = True
        self._woken.set()

    def reserve(self) -> ShardReservation | None:
        """Reserve a shard for the rows of one transaction of this process.

        Return None if the rows should wait for a poll: the relay is closed or failing, or no shard is free because too
        many batches wait already.
        """
        if self._closed or self._health.errors:
            return None
        lease = self._leases.reserve()
        return None if lease is None else ShardReservation(lease, self._polls)

    def enqueue_committed(self, reservation: ShardReservation, rows: Sequence[WaitingRow]) -> None:
        """Queue the committed rows of a reservation; if the queue is full or closed, a poll will fetch them."""
        batch = PublishBatch(reservation.lease, rows, reservation.polls)
        if rows and not self._closed and self._direct.add(batch):
            self._begin(batch)
            self._woken.set()
        else:
            self.release(reservation, empty=not rows)

    def release(self, reservation: ShardReservation, *, empty: bool) -> None:
        """End a reservation; unless `empty`, rows were written to its shard, and a poll must fetch them."""
        missed = not empty or reservation.polls != self._polls
        self._release(reservation.lease, reservation.lease.shards, may_have_missed=missed)

    def close(self) -> None:
        """Leave in the outbox what no publisher has begun, and reserve no more shards."""
        self._closed = True
        while self._direct:
            self.complete(self._direct.take(), all_acked=False)

    async def next_batch(self, *, on_idle: Callable[[], None]) -> PublishBatch:
        """Wait for rows to publish; call `on_idle` whenever there are none.

        Direct batches and polls alternate while both have rows, so that neither delays the other.
        """
        async with self._turn:
            while True:
                self._woken.clear()
                if self._poll_due and (self._poll_first or not self._direct):
                    self._poll_first = self._poll_due = False
                    batch = await self._poll()
                    if batch.rows:
                        self._poll_due = True
                        self._begin(batch)
                        return batch
                if self._direct:
                    self._poll_first = True
                    return self._direct.take()
                on_idle()
                await self._wait()

    async def write_back(self, acked: Sequence[WaitingRow], failed: Sequence[FailedRow]) -> None:
        """Delete acked rows and defer failed ones; retry until the database accepts it.

        Rows that are acked and not deleted would be published again.
        """
        backoff = Backoff(self._options.retry_initial_seconds, self._options.retry_max_seconds)
        for attempt in count(1):
            try:
                await self._write(acked, failed)
            except DATABASE_ERRORS as error:
                self._health.set_error("database", error)
                await asyncio.sleep(backoff.equal_jitter(attempt))
            else:
                self._health.clear_error("database")
                return

    def complete(self, batch: PublishBatch, *, all_acked: bool) -> None:
        """Release the shards of a batch; unless `all_acked`, some of its rows are still in the outbox."""
        self._health.in_flight -= len(batch.rows)
        if not self._health.in_flight:
            self._idle.set()
        self._release(batch.lease, batch.shards, may_have_missed=not all_acked or batch.polls != self._polls)

    async def wait_until_idle(self, seconds: float) -> None:
        """Wait until no batch is in flight, at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    def _release(self, lease: Lease, shards: frozenset[int], *, may_have_missed: bool) -> None:
        """`may_have_missed`: the shards may have rows that no poll returned, since they were in use or a limit hit."""
        self._leases.release(lease, shards)
        if may_have_missed:
            self.wake()

    def _begin(self, batch: PublishBatch) -> None:
        self._health.in_flight += len(batch.rows)
        self._idle.clear()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._options.poll_interval_seconds):
                await self._woken.wait()
        except TimeoutError:
            self._poll_due = True

    async def _poll(self) -> PublishBatch:
        # Acquired before the fetch: if a shard were given to another relay during the fetch, both would publish it.
        lease = self._leases.acquire()
        rows: Sequence[WaitingRow] = ()
        ours: frozenset[int] = frozenset()
        # Counted at both ends: a poll may miss the rows of a shard that was reserved before the poll ended.
        self._polls += 1
        try:
            if lease.shards:
                rows = await self._fetch(lease)
        finally:
            ours = self._leases.poll_finished(lease, {row.shard for row in rows})
            self._polls += 1
        return PublishBatch(lease, [row for row in rows if row.shard in ours])

    async def _fetch(self, lease: Lease) -> Sequence[WaitingRow]:
        """Fetch rows, starting after the shard that was served last, so that a long shard cannot delay the others."""
        shards = sorted(lease.shards, key=lambda shard: (shard - self._first_shard) % SHARD_COUNT)
        async with self._engine.connect() as conn:
            rows = await outbox.fetch(
                conn,
                shards,
                rows=self._options.fetch_rows,
                size=self._options.fetch_bytes,
                max_delay=self._options.deferral_max_seconds,
            )
        self._health.clear_error("database")
        if rows:
            self._first_shard = rows[-1].shard + 1
        return rows

    async def _write(self, acked: Sequence[WaitingRow], failed: Sequence[FailedRow]) -> None:
        async with self._engine.connect() as conn:
            if acked:
                await outbox.delete(conn, acked)
            if failed:
                min_delay = timedelta(seconds=self._options.deferral_initial_seconds)
                max_delay = timedelta(seconds=self._options.deferral_max_seconds)
                await outbox.schedule_retry(conn, failed, min_delay=min_delay, max_delay=max_delay)
