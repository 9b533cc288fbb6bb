"""The relay: outbox rows to Kafka, in the order in which their facts became true.

What is guaranteed, for any number of relays, stopped, frozen or killed anywhere: *counting the first copy of each, the
rows of one order key arrive in order, across topics too, and none is lost.* It rests on three rules and on no lock:

1. A snapshot of the outbox shows what waits of a key without a gap before its last row (`statements.outbox` says why).
2. A row is deleted only after the broker acked it.
3. A relay sends a row only after it has the ack of the row before it, or in one batch with it, if its snapshot showed
   that row. A transaction that put a key's rows and saw none before them was a snapshot too, so once it has committed
   its rows may be sent without reading them back (`begin`).

So before any copy of a row is sent, a copy of the row before it is in Kafka: either this relay sent it, or it was gone
from the snapshot, thus acked. A late copy from a relay that froze comes after first copies only. Ownership of shards
(`relay.shards`) keeps copies to what was in flight when a relay died, froze, or lost a server.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from els_stream.queries.direct_publish import begin_handover
from els_stream.queries.outbox import CHANNEL, as_fetched
from els_stream.relay.dedicated_connection import own_connection
from els_stream.relay.dispatcher import Dispatcher
from els_stream.relay.health_counts import RelayHealth
from els_stream.relay.options import OnAck, RelayOptions, nobody
from els_stream.relay.publisher import SENDING, Publisher
from els_stream.relay.sender import Sender
from els_stream.relay.shard_leases import ShardLeases
from els_stream.relay.supervision import supervise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

FINISH_SECONDS: Final = 1.0
GOODBYE_SECONDS: Final = 0.8
LISTENER_CHECK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """Counts are since the start; `troubles` names each part that is not working now, and why."""

    shards: int
    relays: int
    in_flight: int
    acked: int
    refused: int
    troubles: dict[str, str]


class Relay:
    """Runs beside the consumers in one event loop and never makes them wait.

    Uses at most `passes_in_flight` connections of the engine's pool at a time, and two of its own.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        broker: str,
        topic_prefix: str = "",
        options: RelayOptions | None = None,
        on_ack: OnAck = nobody,
    ) -> None:
        self._options = options or RelayOptions()
        self._engine = engine
        self._health = RelayHealth()
        self._shares = ShardLeases(engine, self._options, self._health, changed=self.wake)
        self._desk = Dispatcher(engine, self._shares, self._options, self._health)
        self._lanes = [
            Publisher(
                desk=self._desk,
                shards=self._shares,
                health=self._health,
                sender=partial(Sender, broker, topic_prefix, self._options),
                on_ack=on_ack,
            )
            for _ in range(self._options.passes_in_flight)
        ]
        self._sending: set[asyncio.Task[None]] = set()
        self._helping: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Returns at once; servers that are away are waited for in the background."""
        self._helping = {self._keep_running("shards", self._shares.keep), self._keep_running("listener", self._listen)}
        self._sending = {self._keep_running(SENDING, lane.run) for lane in self._lanes}

    async def stop(self) -> None:
        """Within 2 s: what is in flight may finish and is written back; what is not acked by then is left behind."""
        for lane in self._lanes:
            lane.finish()
        self._desk.close()
        if not self._sending:
            return
        # A lane that waits for work has nothing to finish, and need not be waited for.
        await self._desk.all_finished(FINISH_SECONDS)
        everything = self._sending | self._helping
        for task in everything:
            task.cancel()
        await asyncio.wait(everything, timeout=GOODBYE_SECONDS)

    @asynccontextmanager
    async def begin(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A transaction, as the engine begins it, whose outbox rows this relay sends as soon as it has committed.

        For as many at a time as it keeps up with; the rows of the others are fetched like anybody's.
        """
        loan = self._desk.lend()
        if loan is None:
            async with engine.begin() as conn:
                yield conn
            return
        try:
            async with engine.begin() as conn:
                handover = await begin_handover(conn, loan.shard)
                yield conn
        except BaseException:
            # It may have committed: nobody knows but the database.
            self._desk.take_back(loan, empty=False)
            raise
        rows = sorted(handover.rows, key=attrgetter("sequence"))
        self._desk.hand_over(loan, [as_fetched(row, loan.shard) for row in rows])

    def wake(self) -> None:
        """Cheap, and safe to call after every commit of this process."""
        self._desk.wake()

    def status(self) -> RelayStatus:
        return RelayStatus(
            shards=self._shares.owned,
            relays=self._shares.relays,
            in_flight=self._health.in_flight,
            acked=self._health.acked,
            refused=self._health.refused,
            troubles=dict(self._health.troubles),
        )

    async def _listen(self) -> None:
        """Wakes on commits of other processes. Without it the slow poll still finds their rows."""
        async with own_connection(self._engine) as conn:
            await conn.add_listener(CHANNEL, lambda *_: self.wake())
            self._health.fine("listener")
            self.wake()
            while True:
                await asyncio.sleep(LISTENER_CHECK_SECONDS)
                await conn.execute("SELECT 1", timeout=LISTENER_CHECK_SECONDS)

    def _keep_running(self, part: str, run: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None]:
        return asyncio.create_task(supervise(part, run, self._options, self._health.trouble), name=f"relay {part}")
