"""Gives the publishers batches of events, and writes the results back to the outbox.

Events come from polls of the outbox and from transactions of this process (direct publish).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

from els_stream.backoff import Backoff
from els_stream.db.errors import DATABASE_ERRORS
from els_stream.failpoints import Failpoint, failpoint
from els_stream.queries import outbox_exceptions, outbox_segments
from els_stream.queries.outbox_rows import SHARD_COUNT
from els_stream.queries.outbox_segments import to_segment
from els_stream.relay.chains import Chains
from els_stream.relay.publish_batch import DirectQueue, PublishBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.queries.direct_publish import WrittenSegment
    from els_stream.queries.outbox_rows import WaitingRow
    from els_stream.queries.outbox_segments import Segment
    from els_stream.relay.batch_results import BatchResults
    from els_stream.relay.options import RelayOptions
    from els_stream.relay.shard_leases import ShardLeases
    from els_stream.relay.shards import Lease
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
        self._chains = Chains(options.fetch_bytes)
        self._poll_first = False
        self._poll_all_at = 0.0
        self._first_shard = 0
        self._closed = False

    def wake(self) -> None:
        """Poll the outbox soon: it may have new rows."""
        self._leases.mark_dirty()
        self._woken.set()

    def reserve(self) -> Lease | None:
        """Reserve a shard for the rows of one transaction of this process.

        Return None if the rows should wait for a poll: the relay is closed or failing, or no shard is free because too
        many batches wait already.
        """
        if self._closed or self._health.errors:
            return None
        return self._leases.reserve()

    def enqueue_committed(self, reservation: Lease, written: Sequence[WrittenSegment]) -> None:
        """Queue the committed segments of a transaction; those that cannot be published from memory wait for a poll."""
        accepted: list[Segment] = []
        positions: set[int] = set()
        declined: set[int] = set()  # shards of which later segments must wait too, since they may have the same keys
        for one in written:
            if one.shard not in declined and one.shard == reservation.shard and one.after <= positions:
                accepted.append(to_segment(one))
                positions.add(one.position)
            elif one.shard in declined or not self._follow(to_segment(one), one.after):
                declined.add(one.shard)
        if not accepted:
            self.release(reservation, empty=True)
        elif not self._enqueue(PublishBatch(reservation, accepted)):
            self.release(reservation, empty=False)
        if declined:
            self.wake()

    def release(self, reservation: Lease, *, empty: bool) -> None:
        """End a reservation; unless `empty`, its transaction wrote rows, and a poll must fetch them.

        They may be in other shards of this process too, since events follow those that wait.
        """
        self._release(reservation, reservation.shards, dirty=False)
        if not empty:
            self.wake()

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
                self._mark_at_interval()
                if self._leases.poll_due and (self._poll_first or not self._direct):
                    self._poll_first = False
                    batch = await self._poll()
                    if batch.size:
                        self._begin(batch)
                        return batch
                if self._direct:
                    self._poll_first = True
                    return self._direct.take()
                if not self._leases.poll_due:
                    on_idle()
                    await self._wait()

    async def write_back(self, results: BatchResults) -> None:
        """Delete what was acked, move aside and defer what failed; retry until the database accepts it.

        Events that are acked and not deleted would be published again.
        """
        backoff = Backoff(self._options.retry_initial_seconds, self._options.retry_max_seconds)
        for attempt in count(1):
            try:
                await self._write(results)
            except DATABASE_ERRORS as error:
                self._health.set_error("database", error)
                await asyncio.sleep(backoff.equal_jitter(attempt))
            else:
                self._health.clear_error("database")
                return

    def complete(self, batch: PublishBatch, *, all_acked: bool) -> None:
        """Release the shards of a batch; unless `all_acked`, some of its events are still in the outbox.

        Segments that follow it in its shards are published next, and these shards stay in use.
        """
        self._health.in_flight -= batch.size
        if not self._health.in_flight:
            self._idle.set()
        following: list[Segment] = []
        free: dict[bool, set[int]] = {False: set(), True: set()}  # by whether events may be left
        for shard in batch.shards:
            anything_waits = self._chains.has_waiting(shard, batch.lease)
            segments = self._chains.take(shard, batch.lease, acked=all_acked and not self._closed)
            following += segments
            if not segments:
                free[anything_waits or not all_acked].add(shard)
        for dirty, shards in free.items():
            self._release(batch.lease, shards, dirty=dirty)
        if following and not self._enqueue(PublishBatch(batch.lease, following)):
            ended = {segment.shard for segment in following}
            for shard in ended:
                self._chains.take(shard, batch.lease, acked=False)
            self._release(batch.lease, ended, dirty=True)

    async def wait_until_idle(self, seconds: float) -> None:
        """Wait until no batch is in flight, at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    def _release(self, lease: Lease, shards: AbstractSet[int], *, dirty: bool) -> None:
        """`dirty`: the shards may have events that no publisher has."""
        self._leases.release(lease, shards, dirty=dirty)
        if self._leases.poll_due:
            self._woken.set()

    def _begin(self, batch: PublishBatch) -> None:
        self._chains.start(batch.lease, batch.segments)
        self._health.in_flight += batch.size
        self._idle.clear()

    def _enqueue(self, batch: PublishBatch) -> bool:
        """Queue a batch that needs no fetch, and return True; return False if the queue is full or closed."""
        if self._closed or not self._direct.add(batch):
            return False
        self._begin(batch)
        self._woken.set()
        return True

    def _follow(self, segment: Segment, after: AbstractSet[int]) -> bool:
        """Publish a segment behind earlier ones of its shard that this process publishes, or has published just now."""
        if self._closed:
            return False
        if self._chains.append(segment, after):
            return True
        if not self._chains.all_acked(after, self._leases.epoch):
            return False
        lease = self._leases.reserve(segment.shard)
        if lease is None:
            return False
        if not self._enqueue(PublishBatch(lease, [segment])):
            self._release(lease, lease.shards, dirty=True)
            return False
        return True

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._poll_all_at - time.monotonic())):
                await self._woken.wait()

    def _mark_at_interval(self) -> None:
        """Poll all shards from time to time, however busy they are: deferred rows become due without a notification."""
        if (now := time.monotonic()) >= self._poll_all_at:
            self._poll_all_at = now + self._options.poll_interval_seconds
            self._leases.mark_dirty()

    async def _poll(self) -> PublishBatch:
        # Leased before the fetch: if a shard were given to another relay during the fetch, both would publish it.
        lease = self._leases.begin_poll()
        try:
            batch = await self._fetch(lease) if lease.shards else PublishBatch(lease, ())
        except BaseException:
            self._release(lease, lease.shards, dirty=True)
            raise
        ours = self._leases.end_poll(lease, batch.shards)
        if ours == batch.shards:
            return batch
        segments = [segment for segment in batch.segments if segment.shard in ours]
        exceptions = [row for row in batch.exceptions if row.shard in ours]
        return PublishBatch(lease, segments, exceptions, batch.blocked)

    async def _fetch(self, lease: Lease) -> PublishBatch:
        """Fetch events, starting after the shard that was served last, so that a long shard cannot delay the others.

        Whether keys have exceptions is read last: those that are gone by then were acked.
        """
        shards = sorted(lease.shards, key=lambda shard: (shard - self._first_shard) % SHARD_COUNT)
        limits = self._options.fetch_rows, self._options.fetch_bytes
        exceptions: Sequence[WaitingRow] = ()
        blocked: frozenset[str] = frozenset()
        async with self._engine.connect() as conn:
            segments, any_exceptions = await outbox_segments.fetch(conn, shards, events=limits[0], size=limits[1])
            if any_exceptions:
                exceptions = await outbox_exceptions.fetch(
                    conn, shards, rows=limits[0], size=limits[1], max_delay=self._options.deferral_max_seconds
                )
                keys = {row.order_key for segment in segments for row in segment.rows}
                blocked = await outbox_exceptions.keys_with_rows(conn, keys) if keys else blocked
        self._health.clear_error("database")
        if segments or exceptions:
            self._first_shard = 1 + (segments[-1] if segments else exceptions[-1]).shard
        return PublishBatch(lease, segments, exceptions, blocked)

    async def _write(self, results: BatchResults) -> None:
        min_delay = timedelta(seconds=self._options.deferral_initial_seconds)
        max_delay = timedelta(seconds=self._options.deferral_max_seconds)
        async with self._engine.connect() as conn:
            if results.moved:
                await outbox_segments.move_aside(conn, results.moved, results.left, min_delay)
                failpoint(Failpoint.AFTER_MOVE_ASIDE)
            if results.done:
                await outbox_segments.delete(conn, results.done)
                failpoint(Failpoint.AFTER_SEGMENT_DELETE)
            if results.acked:
                await outbox_exceptions.delete(conn, results.acked)
            if results.failed:
                await outbox_exceptions.schedule_retry(conn, results.failed, min_delay=min_delay, max_delay=max_delay)
