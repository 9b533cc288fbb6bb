"""The one place that touches Faust's consumer and aiokafka: positions, fetches and group offsets are ours from here.

Faust keeps what it is good at: group membership, rebalance callbacks, the consumer's thread. What is overridden and
used of its internals stands in `internals`, and a test fails when they change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Protocol, cast

import aiokafka
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaPartition
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers.aiokafka import (
    AIOKafkaConsumerThread,
    Consumer,
    Transport,
    credentials_to_aiokafka_auth,
    server_list,
)
from faust.types import TP
from typing_extensions import override
from yarl import URL

from els_stream.intake.internals import fetch_context, partition_state, stopped
from els_stream.intake.lane import Lane
from els_stream.intake.parts import FetchedRecord
from els_stream.intake.positioning import LogState
from els_stream.intake.reports import Occurrence, Reports
from els_stream.positions import Partition

if TYPE_CHECKING:
    from faust.types import AppT

log = logging.getLogger(__name__)

# What Kafka raises while it is away or moving; AssertionError: aiokafka's own, for an assignment that changed.
KAFKA_ERRORS: tuple[type[Exception], ...] = (KafkaError, IllegalStateError, AssertionError, OSError, ConsumerNotStarted)

STOP_SECONDS = 2.0
OFFSETS_SECONDS = 5.0
# In the thread and around it: its queue has two workers only, and a broker that is away answers never.
COMMIT_SECONDS = 1.0
COMMIT_SECONDS_OUTSIDE = 1.5
# How long the broker may keep a fetch open while a partition that is not in it gets room.
FETCH_WAIT_MS = 200


class Intake(Protocol):
    """What the consumer serves."""

    @property
    def lane(self) -> Lane: ...
    @property
    def reports(self) -> Reports: ...
    def attach(self, kafka: KafkaLog) -> None: ...
    async def step(self) -> None: ...


class KafkaConsumer(Protocol):
    """The part of aiokafka's consumer that is used here; it ships no types."""

    def assignment(self) -> AbstractSet[tuple[str, int]]: ...
    def seek(self, partition: object, offset: int) -> None: ...
    async def commit(self, offsets: Mapping[Any, object]) -> None: ...
    async def committed(self, partition: object) -> int | None: ...
    async def end_offsets(self, partitions: Sequence[object]) -> Mapping[Any, int]: ...
    async def beginning_offsets(self, partitions: Sequence[object]) -> Mapping[Any, int]: ...


class LaneThread(AIOKafkaConsumerThread):
    """aiokafka's consumer in its own thread and loop; what begins with `thread_` runs there, by `call_thread`."""

    @override
    def _create_worker_consumer(self, transport: Any) -> Any:
        """As Faust's, with `read_committed`, and a fetch wait that suits partitions that come and go."""
        conf = self.app.conf
        self._assignor = RoundRobinPartitionAssignor
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_interval_ms=int((conf.broker_max_poll_interval or 0) * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            isolation_level="read_committed",
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
            **credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )

    @override
    async def on_thread_stop(self) -> None:
        """With the broker away aiokafka's stop raises CancelledError, and mode would wait for this thread for ever."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await super().on_thread_stop()
        except asyncio.CancelledError:
            log.warning("Kafka's consumer did not stop in order: cancelled")
        except KAFKA_ERRORS as error:
            log.warning("Kafka's consumer did not stop in order: %s", type(error).__name__)

    @property
    def kafka(self) -> KafkaConsumer:
        return cast("KafkaConsumer", self._ensure_consumer())

    async def thread_commit(self, offsets: Mapping[Partition, int]) -> None:
        """Partitions that are not ours any more are left out."""
        assigned = self.kafka.assignment()
        ours = {KafkaPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items() if tp in assigned}
        if ours:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self.kafka.commit(ours)

    async def thread_states(self, partitions: AbstractSet[Partition]) -> dict[Partition, LogState]:
        asked = [KafkaPartition(*tp) for tp in partitions]
        async with asyncio.timeout(OFFSETS_SECONDS):
            ends = await self.kafka.end_offsets(asked)
            beginnings = await self.kafka.beginning_offsets(asked)
            committed = await asyncio.gather(*(self.kafka.committed(tp) for tp in asked))
        return {
            Partition(*tp): LogState(beginnings[tp], ends[tp], offset)
            for tp, offset in zip(asked, committed, strict=True)
        }

    async def thread_ends(self, partitions: AbstractSet[Partition]) -> dict[Partition, int]:
        async with asyncio.timeout(OFFSETS_SECONDS):
            ends = await self.kafka.end_offsets([KafkaPartition(*tp) for tp in partitions])
        return {Partition(*tp): end for tp, end in ends.items()}

    async def thread_seek(self, where: Mapping[Partition, int]) -> None:
        for tp, offset in where.items():
            self.kafka.seek(KafkaPartition(*tp), offset)

    async def thread_touch(self) -> None:
        with fetch_context(self.kafka):
            pass


class KafkaLog:
    """Kafka as the feeder sees it."""

    def __init__(self, consumer: LaneConsumer, thread: LaneThread) -> None:
        self._consumer = consumer
        self._thread = thread

    def assignment(self) -> set[Partition]:
        return {Partition(*tp) for tp in self._consumer.assignment()}

    def flowing(self) -> bool:
        return bool(self._consumer.flow_active)

    async def states(self, partitions: AbstractSet[Partition]) -> dict[Partition, LogState]:
        return cast("dict[Partition, LogState]", await self._thread.call_thread(self._thread.thread_states, partitions))

    async def ends(self, partitions: AbstractSet[Partition]) -> dict[Partition, int]:
        return cast("dict[Partition, int]", await self._thread.call_thread(self._thread.thread_ends, partitions))

    async def seek(self, where: Mapping[Partition, int]) -> None:
        await self._thread.call_thread(self._thread.thread_seek, where)

    async def fetch(
        self, partitions: AbstractSet[Partition], seconds: float
    ) -> Mapping[Partition, Sequence[FetchedRecord]]:
        fetched = await self._thread.getmany(cast("set[TP]", partitions), seconds)
        return cast("Mapping[Partition, Sequence[FetchedRecord]]", fetched)

    async def touch(self) -> None:
        await self._thread.call_thread(self._thread.thread_touch)

    def position(self, partition: Partition) -> int | None:
        """The next offset that would be fetched: past transaction markers and other offsets without a record."""
        state = partition_state(self._thread.kafka, KafkaPartition(*partition))
        return state.position if state is not None and state.has_valid_position else None

    def unread(self, partition: Partition) -> int | None:
        """How many offsets lie behind the position, as of the last fetch; None before the first."""
        state = partition_state(self._thread.kafka, KafkaPartition(*partition))
        if state is None or not state.has_valid_position or state.highwater is None:
            return None
        return max(0, state.highwater - state.position)


class LaneConsumer(Consumer):
    """Faust's consumer with the lane in place of its streams, acks and commits."""

    _thread: LaneThread

    @override
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._intake = cast("LaneTransport", self.transport).intake
        self._lane = self._intake.lane
        self._intake.attach(KafkaLog(self, self._thread))

    @override
    def _new_consumer_thread(self) -> LaneThread:
        return LaneThread(self, loop=self.loop, beacon=self.beacon)

    # Everything ends on revoke, assign, stop_flow and stop.

    @override
    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._intake.reports.occurred(Occurrence.REBALANCED)
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
            self._intake.reports.occurred(Occurrence.COMMIT_FAILED)
            log.warning("the group was not told its offsets: %s", type(error).__name__)
            return False
        self._lane.sent(offsets)
        return True


class LaneTransport(Transport):
    """Brings the intake to the consumer that Faust makes."""

    Consumer = LaneConsumer

    def __init__(self, url: Iterable[URL], app: AppT, intake: Intake) -> None:
        super().__init__(list(url), app)
        self.intake = intake
