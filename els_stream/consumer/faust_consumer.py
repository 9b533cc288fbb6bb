"""With `kafka` the one place that touches Faust's consumer and aiokafka: what is fetched and told is decided here.

Faust keeps what it is good at: group membership, rebalance callbacks, the consumer's thread. What is overridden and
used of its internals stands in `internals`, and a test fails when they change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Protocol, cast

from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers.aiokafka import (
    Consumer,
    Transport,
)
from faust.types import TP
from typing_extensions import override
from yarl import URL

from els_stream.consumer.faust_internals import stopped
from els_stream.consumer.kafka_client import (
    COMMIT_SECONDS,
    COMMIT_SECONDS_OUTSIDE,
    KAFKA_ERRORS,
    STOP_SECONDS,
    ElsConsumerThread,
    KafkaLog,
)
from els_stream.consumer.partition_buffers import PartitionBuffers
from els_stream.consumer.reporting import ConsumerEvent, ConsumerMetrics

if TYPE_CHECKING:
    from faust.types import AppT

log = logging.getLogger(__name__)


class ConsumerParts(Protocol):
    """What the consumer serves."""

    @property
    def lane(self) -> PartitionBuffers: ...
    @property
    def reports(self) -> ConsumerMetrics: ...
    def attach(self, kafka: KafkaLog) -> None: ...
    async def step(self) -> None: ...


class ElsConsumer(Consumer):
    """Faust's consumer with the lane in place of its streams, acks and commits."""

    _thread: ElsConsumerThread

    @override
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._intake = cast("ElsTransport", self.transport).intake
        self._lane = self._intake.lane
        self._intake.attach(KafkaLog(self, self._thread))

    @override
    def _new_consumer_thread(self) -> ElsConsumerThread:
        """On asyncio's own loop: uvloop refuses to write to a connection that was just lost with a RuntimeError.

        aiokafka's tasks know no such error and end by it, unheard: the worker would be out of its group for ever.
        """
        return ElsConsumerThread(self, loop=self.loop, thread_loop=asyncio.SelectorEventLoop(), beacon=self.beacon)

    # Everything ends on revoke, assign, stop_flow and stop.

    @override
    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._intake.reports.record_event(ConsumerEvent.REBALANCED)
        await self._quiesce()
        await super().on_partitions_revoked(revoked)

    @override
    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Settled only at the end: a late resume may switch the flow on in the middle of a rebalance."""
        self._lane.clear()
        self._lane.forget()
        await super().on_partitions_assigned(assigned, generation_id)
        self._lane.settle()

    @override
    def stop_flow(self) -> None:
        """Also the first thing that Faust does when it stops."""
        super().stop_flow()
        self._lane.clear()

    @override
    async def on_stop(self) -> None:
        self._lane.stop()
        await self._quiesce()
        self._lane.cancel_in_flight()
        await super().on_stop()

    async def _quiesce(self) -> None:
        await self._lane.quiesce(STOP_SECONDS)
        await self.force_commit()
        self._lane.forget()

    # One seeker.

    @override
    async def perform_seek(self) -> None:
        """Nothing: Faust wraps this in a timeout and may resume without it."""

    @override
    async def _drain_messages(self, fetcher: Any) -> None:
        """Feeds the lane until the worker stops; Faust runs it in its fetcher service."""
        while not (stopped(self) or stopped(fetcher) or self.app.should_stop):
            try:
                await self._intake.step()
            except ConsumerStoppedError:
                return
            except asyncio.CancelledError:
                # In the middle of a rebalance Faust takes it for an order to restart the fetcher, and crashes.
                if stopped(fetcher):
                    return
                raise
            except KAFKA_ERRORS as error:
                log.warning("feeding the lane: %s", type(error).__name__)
                await asyncio.sleep(COMMIT_SECONDS / 5)

    @override
    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust's check knows nothing of the lane."""

    # The group's offsets are a lag figure: nothing waits for them, nothing ends for them.

    @override
    async def force_commit(
        self,
        topics: AbstractSet[str | TP] | None = None,
        start_new_transaction: bool = True,
    ) -> bool:
        del topics, start_new_transaction
        offsets = self._lane.unsent()
        if not offsets:
            return False
        try:
            async with asyncio.timeout(COMMIT_SECONDS_OUTSIDE):
                await self._thread.call_thread(self._thread.thread_commit, offsets)
        except KAFKA_ERRORS as error:
            self._intake.reports.record_event(ConsumerEvent.COMMIT_FAILED)
            log.warning("the group was not told its offsets: %s", type(error).__name__)
            return False
        self._lane.sent(offsets)
        return True


class ElsTransport(Transport):
    """Brings the intake to the consumer that Faust makes."""

    Consumer = ElsConsumer

    def __init__(self, url: Iterable[URL], app: AppT, intake: ConsumerParts) -> None:
        super().__init__(list(url), app)
        self.intake = intake
