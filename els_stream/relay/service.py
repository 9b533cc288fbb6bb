"""The relay publishes the events of the outbox to Kafka, in the order in which their facts became true.

It guarantees, for any number of relays that are stopped, frozen or killed anywhere: *counting the first copy of each
event, the events of one order key arrive in order, across topics too, and none is lost.* This rests on three rules and
on no lock:

1. A snapshot of the outbox shows the waiting events of a key without a gap before the last one: in the segments of one
   shard, in order, and before these among the exceptions (`queries.outbox` explains why).
2. A segment is deleted only once the relay that deletes it has acks for all its events, or has moved those that are
   left to the exceptions in the same transaction; an exception is deleted only after its ack.
3. A relay sends an event only if its snapshot showed it, and only after the ack of the event before it, or in one
   record batch with it. It does not send events from segments while their key has exceptions. A transaction that wrote
   events of a key and saw none before them was such a snapshot too, so once it has committed, its events may be
   published without reading them back (`begin`); if it saw some, as soon as this process has the acks of these.

So before any copy of an event is sent, a copy of the event before it is in Kafka: either this relay sent it, or the
snapshot did not have it, which means that it was acked. A late copy from a relay that froze comes after first copies
only. Acks of single events are remembered in memory only: after a crash all events of a segment are sent again.
Ownership of shards (`relay.shard_leases`) limits copies to what was in flight when a relay died, froze, or lost a
server.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from els_stream.db.stale_sessions import require_writable_session
from els_stream.kafka.broker import BrokerAddress
from els_stream.queries.direct_publish import enable_direct_publish
from els_stream.queries.outbox import CHANNEL, FULL_QUEUE
from els_stream.relay.dedicated_connection import dedicated_connection
from els_stream.relay.dispatcher import Dispatcher
from els_stream.relay.options import OnAck, RelayOptions, noop
from els_stream.relay.publisher import COMPONENT, Publisher
from els_stream.relay.sender import Sender
from els_stream.relay.shard_leases import ShardLeases
from els_stream.relay.status import RelayHealth, RelayStatus
from els_stream.relay.supervision import supervise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

DRAIN_TIMEOUT_SECONDS: Final = 1.0
CLOSE_TIMEOUT_SECONDS: Final = 0.8
LISTENER_CHECK_INTERVAL_SECONDS: Final = 5.0
_QUEUE_USAGE: Final = "SELECT pg_notification_queue_usage()"

log = structlog.get_logger(__name__)


class Relay:
    """Runs beside the consumer in one event loop and never makes it wait.

    Uses at most `publishers` connections of the engine's pool at a time, and two dedicated ones.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        broker: BrokerAddress,
        topic_prefix: str = "",
        options: RelayOptions | None = None,
        on_ack: OnAck = noop,
    ) -> None:
        self._options = options or RelayOptions()
        self._engine = engine
        self._health = RelayHealth()
        self._leases = ShardLeases(engine, self._options, self._health, on_acquired=self.wake)
        self._dispatcher = Dispatcher(engine, self._leases, self._options, self._health)
        self._publishers = [
            Publisher(
                dispatcher=self._dispatcher,
                leases=self._leases,
                health=self._health,
                sender=partial(Sender, broker, topic_prefix, self._options),
                on_ack=on_ack,
            )
            for _ in range(self._options.publishers)
        ]
        self._publishing: set[asyncio.Task[None]] = set()
        self._supporting: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the components and return at once; they wait for unavailable servers in the background."""
        self._supporting = {
            self._keep_running("shards", self._leases.run),
            self._keep_running("listener", self._listen),
        }
        self._publishing = {self._keep_running(COMPONENT, publisher.run) for publisher in self._publishers}

    async def stop(self) -> None:
        """Stop within 2 s: batches in flight may end and are written back.

        Rows that are not acked by then stay in the outbox.
        """
        for publisher in self._publishers:
            publisher.stop()
        self._dispatcher.close()
        if not self._publishing:
            return
        # A publisher that waits for a batch has nothing to finish, so only the batches are waited for.
        await self._dispatcher.wait_until_idle(DRAIN_TIMEOUT_SECONDS)
        tasks = self._publishing | self._supporting
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_SECONDS)

    @asynccontextmanager
    async def begin(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """Begin a transaction as the engine does, and publish its outbox events as soon as it has committed.

        If the relay is busy or failing, the rows wait in the outbox for a poll.
        """
        reservation = self._dispatcher.reserve()
        if reservation is None:
            async with engine.begin() as conn:
                yield conn
            return
        try:
            async with engine.begin() as conn:
                direct = await enable_direct_publish(conn, reservation.shard, self._leases.owned_shards)
                yield conn
        except BaseException:
            # It may have committed all the same; only the database knows.
            self._dispatcher.release(reservation, empty=False)
            raise
        self._dispatcher.enqueue_committed(reservation, direct.segments)

    def wake(self) -> None:
        """Poll the outbox soon; cheap enough to call after every commit of this process."""
        self._dispatcher.wake()

    def status(self) -> RelayStatus:
        return RelayStatus(
            shards=self._leases.owned,
            members=self._leases.members,
            in_flight=self._health.in_flight,
            acked=self._health.acked,
            rejected=self._health.rejected,
            errors=dict(self._health.errors),
        )

    async def _listen(self) -> None:
        """Wake on commits of other processes. Without it the slow poll still finds their rows."""
        async with dedicated_connection(self._engine) as conn:
            await conn.add_listener(CHANNEL, lambda *_: self.wake())
            self._health.clear_error("listener")
            self.wake()
            was_full = False
            while True:
                await asyncio.sleep(LISTENER_CHECK_INTERVAL_SECONDS)
                await require_writable_session(conn)
                used: float = await conn.fetchval(_QUEUE_USAGE, timeout=LISTENER_CHECK_INTERVAL_SECONDS)
                if (used >= FULL_QUEUE) != was_full:
                    was_full = not was_full
                    log.warning("notification_queue_full" if was_full else "notification_queue_free", used=used)

    def _keep_running(self, component: str, run: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None]:
        supervised = supervise(component, run, self._options, self._health.set_error)
        return asyncio.create_task(supervised, name=f"relay {component}")
