"""aiokafka's consumer in its own thread, and Kafka as the feeder sees it through that thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol, cast

import aiokafka
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaPartition
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers.aiokafka import (
    AIOKafkaConsumerThread,
    Consumer,
    credentials_to_aiokafka_auth,
    server_list,
)
from faust.types import TP
from typing_extensions import override

from els_stream.consumer.faust_internals import fetch_context, partition_state, stopped
from els_stream.consumer.partition_state import FetchedRecord
from els_stream.consumer.start_offsets import LogState
from els_stream.kafka.offsets import Partition

log = logging.getLogger(__name__)

# What Kafka raises while it is away or moving; AssertionError: aiokafka's own, for an assignment that changed.
KAFKA_ERRORS: tuple[type[Exception], ...] = (KafkaError, IllegalStateError, AssertionError, OSError, ConsumerNotStarted)

START_SECONDS = 0.5
STOP_SECONDS = 2.0
OFFSETS_SECONDS = 5.0
# In the thread and around it: its queue has two workers only, and a broker that is away answers never.
COMMIT_SECONDS = 1.0
COMMIT_SECONDS_OUTSIDE = 1.5
# How long the broker may keep a fetch open while a partition that is not in it gets room.
FETCH_WAIT_MS = 200


class KafkaConsumer(Protocol):
    """The part of aiokafka's consumer that is used here; it ships no types."""

    def assignment(self) -> AbstractSet[tuple[str, int]]: ...
    def seek(self, partition: object, offset: int) -> None: ...
    async def stop(self) -> None: ...
    async def commit(self, offsets: Mapping[Any, object]) -> None: ...
    async def committed(self, partition: object) -> int | None: ...
    async def end_offsets(self, partitions: Sequence[object]) -> Mapping[Any, int]: ...
    async def beginning_offsets(self, partitions: Sequence[object]) -> Mapping[Any, int]: ...


class ElsConsumerThread(AIOKafkaConsumerThread):
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
    async def on_start(self) -> None:
        """Waits for a broker that is away, as every worker waits for its database."""
        while not stopped(self):
            try:
                await super().on_start()
            except KafkaConnectionError as error:
                log.warning("Kafka can't be reached yet: %s", error)
                await self.kafka.stop()
                await asyncio.sleep(START_SECONDS)
            else:
                return

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

    def __init__(self, consumer: Consumer, thread: ElsConsumerThread) -> None:
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

    def unread(self, partition: Partition, end: int) -> int | None:
        """How many offsets lie behind the position, by `end` or the last fetch, which knows more; None before it."""
        state = partition_state(self._thread.kafka, KafkaPartition(*partition))
        if state is None or not state.has_valid_position or state.highwater is None:
            return None
        return max(0, max(state.highwater, end) - state.position)
