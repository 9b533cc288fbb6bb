"""aiokafka's consumer in a thread of its own, and Kafka as the fetcher uses it through that thread."""

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

# Raised while Kafka is away or the group rebalances. AssertionError: aiokafka asserts that the assignment is unchanged.
KAFKA_ERRORS: tuple[type[Exception], ...] = (KafkaError, IllegalStateError, AssertionError, OSError, ConsumerNotStarted)

CONNECT_RETRY_DELAY_SECONDS = 0.5
CLOSE_TIMEOUT_SECONDS = 2.0
OFFSETS_TIMEOUT_SECONDS = 5.0
# In the thread, and for the call into it: only two calls run there at a time, and a broker that is away never answers.
COMMIT_TIMEOUT_SECONDS = 1.0
COMMIT_CALL_TIMEOUT_SECONDS = 1.5
# How long the broker may hold a fetch open; meanwhile a partition that is not in the fetch may get capacity.
FETCH_MAX_WAIT_MS = 200


class KafkaConsumer(Protocol):
    """The methods of aiokafka's consumer that are used here; aiokafka has no type annotations."""

    def assignment(self) -> AbstractSet[tuple[str, int]]: ...
    def seek(self, partition: object, offset: int) -> None: ...
    async def stop(self) -> None: ...
    async def commit(self, offsets: Mapping[Any, object]) -> None: ...
    async def committed(self, partition: object) -> int | None: ...
    async def end_offsets(self, partitions: Sequence[object]) -> Mapping[Any, int]: ...
    async def beginning_offsets(self, partitions: Sequence[object]) -> Mapping[Any, int]: ...


class ElsConsumerThread(AIOKafkaConsumerThread):
    """aiokafka's consumer in a thread and loop of its own; methods named `thread_...` run there, by `call_thread`."""

    @override
    def _create_worker_consumer(self, transport: Any) -> Any:
        """Create the consumer as Faust does, but with `read_committed` and a short fetch wait."""
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
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
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
        """Start, and retry while the broker is away, as a worker also waits for its database."""
        while not stopped(self):
            try:
                await super().on_start()
            except KafkaConnectionError as error:
                log.warning("Kafka can't be reached yet: %s", error)
                await self.kafka.stop()
                await asyncio.sleep(CONNECT_RETRY_DELAY_SECONDS)
            else:
                return

    @override
    async def on_thread_stop(self) -> None:
        """Stop within a time limit: without a broker aiokafka raises CancelledError, and mode would wait forever."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await super().on_thread_stop()
        except asyncio.CancelledError:
            log.warning("Kafka's consumer did not stop cleanly: cancelled")
        except KAFKA_ERRORS as error:
            log.warning("Kafka's consumer did not stop cleanly: %s", type(error).__name__)

    @property
    def kafka(self) -> KafkaConsumer:
        return cast("KafkaConsumer", self._ensure_consumer())

    async def thread_commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit the group's offsets of the partitions that are still assigned."""
        assigned = self.kafka.assignment()
        owned = {KafkaPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items() if tp in assigned}
        if owned:
            async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
                await self.kafka.commit(owned)

    async def thread_log_states(self, partitions: AbstractSet[Partition]) -> dict[Partition, LogState]:
        requested = [KafkaPartition(*tp) for tp in partitions]
        async with asyncio.timeout(OFFSETS_TIMEOUT_SECONDS):
            ends = await self.kafka.end_offsets(requested)
            beginnings = await self.kafka.beginning_offsets(requested)
            committed = await asyncio.gather(*(self.kafka.committed(tp) for tp in requested))
        return {
            Partition(*tp): LogState(beginnings[tp], ends[tp], offset)
            for tp, offset in zip(requested, committed, strict=True)
        }

    async def thread_end_offsets(self, partitions: AbstractSet[Partition]) -> dict[Partition, int]:
        async with asyncio.timeout(OFFSETS_TIMEOUT_SECONDS):
            ends = await self.kafka.end_offsets([KafkaPartition(*tp) for tp in partitions])
        return {Partition(*tp): end for tp, end in ends.items()}

    async def thread_seek(self, offsets: Mapping[Partition, int]) -> None:
        for tp, offset in offsets.items():
            self.kafka.seek(KafkaPartition(*tp), offset)

    async def thread_keep_alive(self) -> None:
        with fetch_context(self.kafka):
            pass


class KafkaLog:
    """Kafka, as the fetcher and the status use it."""

    def __init__(self, consumer: Consumer, thread: ElsConsumerThread) -> None:
        self._consumer = consumer
        self._thread = thread

    def assignment(self) -> set[Partition]:
        return {Partition(*tp) for tp in self._consumer.assignment()}

    def is_active(self) -> bool:
        return bool(self._consumer.flow_active)

    async def log_states(self, partitions: AbstractSet[Partition]) -> dict[Partition, LogState]:
        return cast(
            "dict[Partition, LogState]", await self._thread.call_thread(self._thread.thread_log_states, partitions)
        )

    async def end_offsets(self, partitions: AbstractSet[Partition]) -> dict[Partition, int]:
        return cast("dict[Partition, int]", await self._thread.call_thread(self._thread.thread_end_offsets, partitions))

    async def seek(self, offsets: Mapping[Partition, int]) -> None:
        await self._thread.call_thread(self._thread.thread_seek, offsets)

    async def fetch(
        self, partitions: AbstractSet[Partition], seconds: float
    ) -> Mapping[Partition, Sequence[FetchedRecord]]:
        fetched = await self._thread.getmany(cast("set[TP]", partitions), seconds)
        return cast("Mapping[Partition, Sequence[FetchedRecord]]", fetched)

    async def keep_alive(self) -> None:
        await self._thread.call_thread(self._thread.thread_keep_alive)

    def position(self, partition: Partition) -> int | None:
        """Return the next offset to be fetched: past transaction markers and other offsets without a record."""
        state = partition_state(self._thread.kafka, KafkaPartition(*partition))
        return state.position if state is not None and state.has_valid_position else None

    def unfetched(self, partition: Partition, log_end: int) -> int | None:
        """Return how many offsets are left to fetch, by `log_end` or by a later fetch; None before the first fetch."""
        state = partition_state(self._thread.kafka, KafkaPartition(*partition))
        if state is None or not state.has_valid_position or state.highwater is None:
            return None
        return max(0, max(state.highwater, log_end) - state.position)
