"""aiokafka's consumer in a thread of its own, and Kafka as the fetcher uses it through that thread."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast
from uuid import UUID

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaPartition
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from typing_extensions import override

from els_stream.consumer.faust_internals import (
    closed,
    count_as_polling,
    network_client,
    stopped,
)
from els_stream.consumer.loop_watch import watch_loop
from els_stream.consumer.partition_reads import Fetched, PartitionReader
from els_stream.consumer.reporting import ConsumerMetrics
from els_stream.consumer.start_offsets import LogState, PartitionUnavailable
from els_stream.consumer.thread_client import KafkaConsumer, ThreadClient
from els_stream.kafka.clients import AIOKafkaConsumer
from els_stream.kafka.high_watermarks import read_high_watermarks
from els_stream.kafka.lifecycle import START_TIMEOUT_SECONDS
from els_stream.kafka.offsets import Partition
from els_stream.kafka.partition_read import read_partition
from els_stream.kafka.topic_ids import read_topic_ids

log = logging.getLogger(__name__)

# Raised while Kafka is away or the group rebalances. AssertionError: aiokafka asserts that the assignment is unchanged.
KAFKA_ERRORS: tuple[type[Exception], ...] = (KafkaError, IllegalStateError, AssertionError, OSError, ConsumerNotStarted)

CONNECT_RETRY_DELAY_SECONDS = 0.5
CLOSE_TIMEOUT_SECONDS = 2.0
OFFSETS_TIMEOUT_SECONDS = 5.0
# The partitions of one leader wait no longer than this for it: others may wait for the answer too.
LEADER_TIMEOUT_SECONDS = 2.0
# In the thread, and for the call into it: only two calls run there at a time, and a broker that is away never answers.
COMMIT_TIMEOUT_SECONDS = 1.0
COMMIT_CALL_TIMEOUT_SECONDS = 1.5
# How long the broker may hold a fetch open; meanwhile a partition that is not in the fetch may get capacity.
FETCH_MAX_WAIT_MS = 200
NO_LEADER = -1  # as aiokafka's metadata have it


class ElsConsumerThread(AIOKafkaConsumerThread):
    """aiokafka's consumer in a thread and loop of its own; methods named `thread_...` run there, by `call_thread`."""

    @override
    def __init__(self, consumer: Consumer, metrics: ConsumerMetrics, **options: Any) -> None:
        """`options` are Faust's."""
        super().__init__(consumer, **options)
        self._metrics = metrics
        self._reader = PartitionReader((ConsumerStoppedError,))
        self._start_error: str | None = None

    @override
    def _create_worker_consumer(self, transport: Any) -> Any:
        """Create the consumer as Faust does, but with `read_committed` and a short fetch wait."""
        conf = self.app.conf
        self._assignor = RoundRobinPartitionAssignor
        return AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=transport.broker,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="none",  # a position outside of the log is decided here, not by the client
            max_poll_interval_ms=int((conf.broker_max_poll_interval or 0) * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            isolation_level="read_committed",
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
        )

    @override
    async def on_start(self) -> None:
        """Start, and retry while the broker is away, as a worker also waits for its database."""
        while not stopped(self):
            try:
                async with asyncio.timeout(START_TIMEOUT_SECONDS):
                    await super().on_start()
            except (KafkaError, TimeoutError) as error:
                cause = self.kafka.connections.cause or str(error) or "no answer in time"
                if cause != self._start_error:
                    log.warning("Kafka can't be reached yet: %s", cause)
                self._start_error = cause
                await self.kafka.stop()
                await asyncio.sleep(CONNECT_RETRY_DELAY_SECONDS)
            else:
                self._start_error = None
                self.add_future(watch_loop(self.parent_loop, lambda: count_as_polling(self.kafka), self._metrics))
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

    def connection_problem(self) -> str | None:
        """Return what keeps the client from its brokers now; may be called in any thread."""
        try:
            return self._start_error or self.kafka.connections.problem
        except ConsumerNotStarted:
            return None

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

    async def thread_log_states(
        self, partitions: AbstractSet[Partition]
    ) -> dict[Partition, LogState | PartitionUnavailable]:
        """Return the state of each log, or why its leader does not answer. Raises if no leader answers."""
        answers = await self._ask_leaders(partitions, ends_only=False)
        requested = [tp for tp, answer in answers.items() if not isinstance(answer, PartitionUnavailable)]
        async with asyncio.timeout(OFFSETS_TIMEOUT_SECONDS):
            committed = await asyncio.gather(*(self.kafka.committed(KafkaPartition(*tp)) for tp in requested))
        offsets = dict(zip(requested, committed, strict=True))
        return {
            tp: answer if isinstance(answer, PartitionUnavailable) else LogState(answer[0], answer[1], offsets[tp])
            for tp, answer in answers.items()
        }

    async def thread_end_offsets(self, partitions: AbstractSet[Partition]) -> dict[Partition, int]:
        """Return the end offsets, without partitions whose leader does not answer. Raises if no leader answers."""
        answers = await self._ask_leaders(partitions, ends_only=True)
        return {tp: answer[1] for tp, answer in answers.items() if not isinstance(answer, PartitionUnavailable)}

    async def _ask_leaders(
        self, partitions: Iterable[Partition], *, ends_only: bool
    ) -> dict[Partition, tuple[int, int] | PartitionUnavailable]:
        """Return beginning and end of each log. Each leader is asked for itself: one that is away stops no other.

        With `ends_only` the beginnings are 0.
        """
        answers: dict[Partition, tuple[int, int] | PartitionUnavailable] = {}
        by_leader: dict[int, list[Partition]] = defaultdict(list)
        cluster = network_client(self.kafka).cluster
        for tp in partitions:
            leader = cluster.leader_for_partition(KafkaPartition(*tp))
            if leader == NO_LEADER:
                answers[tp] = PartitionUnavailable("LeaderNotAvailableError")
            else:
                by_leader[leader].append(tp)  # None before the topic's metadata: aiokafka waits for it
        errors: list[Exception] = []
        asked = [self._ask_leader(group, errors, ends_only=ends_only) for group in by_leader.values()]
        for group in await asyncio.gather(*asked):
            answers.update(group)
        if errors and len(errors) == len(asked):
            raise errors[0]
        return answers

    async def _ask_leader(
        self, partitions: Sequence[Partition], errors: list[Exception], *, ends_only: bool
    ) -> dict[Partition, tuple[int, int] | PartitionUnavailable]:
        requested = [KafkaPartition(*tp) for tp in partitions]
        try:
            async with asyncio.timeout(LEADER_TIMEOUT_SECONDS):
                ends = await self.kafka.end_offsets(requested)
                beginnings = {} if ends_only else await self.kafka.beginning_offsets(requested)
        except KAFKA_ERRORS as error:
            errors.append(error)
            return dict.fromkeys(partitions, PartitionUnavailable(type(error).__name__))
        return {Partition(*tp): (beginnings.get(tp, 0), ends[tp]) for tp in requested}

    async def thread_high_watermarks(self, partitions: AbstractSet[Partition]) -> dict[Partition, int]:
        return await read_high_watermarks(network_client(self.kafka), partitions)

    async def thread_topic_ids(self, topics: AbstractSet[str]) -> dict[str, UUID]:
        return await read_topic_ids(network_client(self.kafka), topics)

    async def thread_fetch(self, starts: Mapping[Partition, int], seconds: float) -> dict[Partition, Fetched]:
        """Fetch as `PartitionReader` does; nothing while the flow is stopped."""
        if not self.consumer.flow_active:
            return {}
        if closed(self.kafka):
            raise ConsumerStoppedError
        return await self._reader.fetch(ThreadClient(self.kafka), starts, seconds)

    async def thread_fetch_alone(self, partition: Partition, start: int) -> Fetched:
        """Read one partition by a request of its own, with all that can be read of it."""
        read = await read_partition(network_client(self.kafka), KafkaPartition(*partition), start)
        return Fetched(read.records, read.position, failure=read.failure, undecodable=read.undecodable)


class KafkaLog:
    """Kafka, as the fetcher and the status use it."""

    def __init__(self, consumer: Consumer, thread: ElsConsumerThread) -> None:
        self._consumer = consumer
        self._thread = thread

    def assignment(self) -> set[Partition]:
        return {Partition(*tp) for tp in self._consumer.assignment()}

    def is_active(self) -> bool:
        return bool(self._consumer.flow_active)

    async def log_states(self, partitions: AbstractSet[Partition]) -> dict[Partition, LogState | PartitionUnavailable]:
        states = await self._thread.call_thread(self._thread.thread_log_states, partitions)
        return cast("dict[Partition, LogState | PartitionUnavailable]", states)

    async def end_offsets(self, partitions: AbstractSet[Partition]) -> dict[Partition, int]:
        return cast("dict[Partition, int]", await self._thread.call_thread(self._thread.thread_end_offsets, partitions))

    async def topic_ids(self, topics: AbstractSet[str]) -> dict[str, UUID]:
        """Return the broker's ids of these topics; empty if it has none."""
        return cast("dict[str, UUID]", await self._thread.call_thread(self._thread.thread_topic_ids, topics))

    async def high_watermarks(self, partitions: AbstractSet[Partition]) -> dict[Partition, int]:
        """Return the ends of the logs with records of open transactions; without partitions that have no leader."""
        return cast(
            "dict[Partition, int]", await self._thread.call_thread(self._thread.thread_high_watermarks, partitions)
        )

    async def fetch(self, starts: Mapping[Partition, int], seconds: float) -> dict[Partition, Fetched]:
        fetched = await self._thread.call_thread(self._thread.thread_fetch, starts, seconds)
        return cast("dict[Partition, Fetched]", fetched)

    async def fetch_alone(self, partition: Partition, start: int) -> Fetched:
        return cast("Fetched", await self._thread.call_thread(self._thread.thread_fetch_alone, partition, start))

    def connection_problem(self) -> str | None:
        """Return what keeps the consumer from its brokers now."""
        return self._thread.connection_problem()

    def has_leader(self, partition: Partition) -> bool:
        """Return false if, by the latest metadata, no broker leads the partition."""
        try:
            cluster = network_client(self._thread.kafka).cluster
        except ConsumerNotStarted:
            return True
        return bool(cluster.leader_for_partition(KafkaPartition(*partition)) != NO_LEADER)
