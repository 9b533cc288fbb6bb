"""Faust's consumer with our buffers in place of its streams, acknowledgements and commits.

Faust keeps the group membership, the rebalance callbacks and the consumer's thread. What is overridden and used of its
internals is listed in `faust_internals`, and a test fails when they change.
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
from els_stream.consumer.group_client import WatchedConsumerThread
from els_stream.consumer.group_watch import GroupHealth
from els_stream.consumer.kafka_client import (
    CLOSE_TIMEOUT_SECONDS,
    COMMIT_CALL_TIMEOUT_SECONDS,
    KAFKA_ERRORS,
    KafkaLog,
)
from els_stream.consumer.partition_buffers import PartitionBuffers
from els_stream.consumer.reporting import ConsumerEvent, ConsumerMetrics
from els_stream.errors import ConfigurationError, ElsError
from els_stream.kafka.broker import Broker

if TYPE_CHECKING:
    from faust.types import AppT

log = logging.getLogger(__name__)

RETRY_DELAY_SECONDS = 0.2


class ConsumerBackend(Protocol):
    """The consumer service, as Faust's consumer uses it."""

    @property
    def buffers(self) -> PartitionBuffers: ...
    @property
    def metrics(self) -> ConsumerMetrics: ...
    @property
    def group_health(self) -> GroupHealth: ...
    def attach(self, kafka: KafkaLog) -> None: ...
    async def step(self) -> None: ...


class EndableApp(Protocol):
    def end_with(self, error: ElsError) -> None:
        """End the worker with the error's message and exit code."""


class ElsConsumer(Consumer):
    _thread: WatchedConsumerThread

    @override
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._backend = cast("ElsTransport", self.transport).backend
        self._buffers = self._backend.buffers
        self.group_health = self._backend.group_health
        self._backend.attach(KafkaLog(self, self._thread))

    @override
    def _new_consumer_thread(self) -> WatchedConsumerThread:
        """Create the thread with asyncio's own event loop.

        uvloop raises RuntimeError for a write to a connection that was just lost. aiokafka's tasks do not handle that
        and end without a log line, and the worker would never be in its group again.
        """
        metrics = cast("ElsTransport", self.transport).backend.metrics
        return WatchedConsumerThread(
            self, metrics, loop=self.loop, thread_loop=asyncio.SelectorEventLoop(), beacon=self.beacon
        )

    def end_worker(self, error: ConfigurationError) -> None:
        cast("EndableApp", self.app).end_with(error)

    # Every partition is closed on revoke, assign, stop_flow and stop.

    @override
    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._backend.metrics.record_event(ConsumerEvent.REBALANCED)
        await self._quiesce()
        await super().on_partitions_revoked(revoked)

    @override
    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Make the assignment ready only at the end: a late resume may start the flow in the middle of a rebalance."""
        self._buffers.close_all()
        self._buffers.remove_all()
        await super().on_partitions_assigned(assigned, generation_id)
        self._buffers.mark_assignment_ready()

    @override
    def stop_flow(self) -> None:
        """Close all partitions. Faust also calls this first of all when it stops."""
        super().stop_flow()
        self._buffers.close_all()

    @override
    async def on_stop(self) -> None:
        self._buffers.stop()
        await self._quiesce()
        self._buffers.cancel_in_flight()
        await super().on_stop()

    async def _quiesce(self) -> None:
        await self._buffers.quiesce(CLOSE_TIMEOUT_SECONDS)
        await self.force_commit()
        self._buffers.remove_all()

    # Only the fetcher seeks.

    @override
    async def perform_seek(self) -> None:
        """Do nothing: Faust calls this with a timeout, and may go on without it."""

    @override
    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch into the buffers until the worker stops; Faust runs this in its fetcher service."""
        while not (stopped(self) or stopped(fetcher) or self.app.should_stop):
            try:
                await self._backend.step()
            except ConsumerStoppedError:
                # The worker stops, or its client is being replaced.
                await asyncio.sleep(RETRY_DELAY_SECONDS)
            except asyncio.CancelledError:
                # During a rebalance Faust takes a cancellation for a request to restart the fetcher, and crashes.
                if stopped(fetcher):
                    return
                raise
            except KAFKA_ERRORS as error:
                log.warning("fetching into the buffers failed: %s", type(error).__name__)
                await asyncio.sleep(RETRY_DELAY_SECONDS)

    @override
    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's check does not see records in our buffers."""

    # The group's offsets only show the lag: nothing depends on them, and an error ends nothing.

    @override
    async def force_commit(
        self,
        topics: AbstractSet[str | TP] | None = None,
        start_new_transaction: bool = True,
    ) -> bool:
        del topics, start_new_transaction
        offsets = self._buffers.offsets_to_report()
        if not offsets:
            return False
        try:
            async with asyncio.timeout(COMMIT_CALL_TIMEOUT_SECONDS):
                await self._thread.call_thread(self._thread.thread_commit, offsets)
        except KAFKA_ERRORS as error:
            self._backend.metrics.record_event(ConsumerEvent.COMMIT_FAILED)
            log.warning("the group's offsets could not be committed: %s", type(error).__name__)
            return False
        self._buffers.mark_reported(offsets)
        return True


class ElsTransport(Transport):
    """Passes our consumer service and the broker's settings to the consumer that Faust creates."""

    Consumer = ElsConsumer

    def __init__(self, url: Iterable[URL], app: AppT, backend: ConsumerBackend, broker: Broker) -> None:
        super().__init__(list(url), app)
        self.backend = backend
        self.broker = broker
