"""A database, topics and a consumer group for one test, with workers that process the traffic of the demo."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from els_stream.config.settings import Settings
from els_stream.demo.check import differences
from els_stream.demo.expectations import Traffic
from els_stream.demo.messages import Message
from els_stream.demo.observations import Observations
from els_stream.events.headers import Headers
from els_stream.events.records import RawRecord
from els_stream.events.topics import INPUT_TOPICS
from els_stream.kafka.consumer_group import ConsumerGroup, Ownership
from els_stream.kafka.log_offsets import lag, read_logs
from els_stream.kafka.offsets import Partition
from els_stream.kafka.topics import ensure_topics, partition_counts
from els_stream.postgres.connect import Connector
from els_stream.postgres.session import SessionNeeds
from els_stream.verify.kafka_events import output_records
from els_stream.verify.runner import verify
from tests.support.demo_queries import HANDLED, READ_OFFSETS, STORED_OFFSETS, UNSENT, WAITING
from tests.support.kafka_clients import started_producer
from tests.support.servers_away import CONNECTION_ERRORS, TEMPORARY, persistently
from tests.support.waiting import until
from tests.support.worker_pool import WorkerPool

MAX_IDLE_SECONDS = 90.0
# Longer than any transaction of ours is left open by the broker.
IDLE_SECONDS = 30.0

Condition = Callable[[], Awaitable[bool]]


async def _do_nothing() -> None:
    pass


class DemoEnvironment:
    """An async context manager: it creates the topics, and kills the workers that still run at the end."""

    def __init__(
        self, broker: str, database: str, prefix: str, folder: Path, group: str | None = None, *, replicas: int = 1
    ) -> None:
        self.settings = Settings(
            broker_url=broker,
            database_url=SecretStr(database),
            topic_prefix=prefix,
            topic_replication_factor=replicas,
            consumer_group=group or f"{prefix}crew",
        )
        self.pool = WorkerPool(self.settings, folder / "workers.log")
        self.database = database
        self.handled_in_deleted_topics = 0
        # Called when there was no progress for IDLE_SECONDS, and each time that these have passed again.
        self.when_idle: Callable[[], Awaitable[None]] = _do_nothing
        self._conn: asyncpg.Connection | None = None
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        replicas = self.settings.topic_replication_factor
        await ensure_topics(self.settings.broker, self.settings.topic_prefix, replication_factor=replicas)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.pool.kill_all()
        if self._conn is not None:
            self._conn.terminate()

    # Sending and waiting.

    async def send(self, messages: Sequence[Message], partitions: int | None = None) -> None:
        """Send each message once, also if the broker goes away in between.

        With `partitions` only to the first so many: a key keeps its partition, and so its order, when others are added.
        """
        producer = await persistently(partial(started_producer, str(self.settings.broker), partitions))
        try:
            sent = [
                await producer.send(self.settings.topic_prefix + message.topic, message.value, key=message.key)
                for message in messages
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def until(self, condition: Condition) -> None:
        """Wait until the condition holds; raises TimeoutError after MAX_IDLE_SECONDS without progress."""
        last = -1
        since = called = time.monotonic()

        async def holds() -> bool:
            nonlocal last, since, called
            if await condition():
                return True
            self.pool.check()
            if (now := await self.position()) != last:
                last, since = now, time.monotonic()
            if time.monotonic() - max(since, called) > IDLE_SECONDS:
                called = time.monotonic()
                await self.when_idle()
            if time.monotonic() - since > MAX_IDLE_SECONDS:
                raise TimeoutError(f"no progress at {last} records; {await self._left()}\n{self.pool.log_tail()}")
            return False

        await until(holds, seconds=None)

    async def until_handled(self, records: int) -> None:
        async def reached() -> bool:
            return await self.position() >= records

        await self.until(reached)

    async def until_all_handled(self) -> None:
        """Wait until the stored offsets are at the end of every partition and the outbox is empty."""
        await self.until(self.is_all_handled)

    async def is_all_handled(self) -> bool:
        if await self.ask(WAITING):
            return False
        try:
            return await self._is_at_the_ends() and not await self.ask(WAITING)
        except TEMPORARY:
            return False

    async def _is_at_the_ends(self) -> bool:
        """Return whether each stored offset is at the end of its partition, or before transaction markers only."""
        stored, ends = await self.stored_offsets(), await self.end_offsets()
        left = {tp for tp, end in ends.items() if stored.get(tp, 0) != end}
        if not left:
            return True
        logs = await read_logs(self.settings.broker, {tp.topic for tp in left})
        unread = {tp: logs[tp] for tp in left & logs.keys()}
        # A log that ends earlier for readers of committed records has an open transaction.
        if any(tp not in unread or unread[tp].end != ends[tp] or stored.get(tp, 0) > ends[tp] for tp in left):
            return False
        return not any((await lag(self.settings.broker, unread, stored)).values())

    async def _left(self) -> str:
        """Describe what is not handled: partitions with stored, readable and last offset, and unsent events."""
        stored, ends = await self.stored_offsets(), await self.end_offsets()
        logs = await read_logs(self.settings.broker, {tp.topic for tp in ends})
        partitions = [
            f"{tp}: {stored.get(tp)}, {logs[tp].end if tp in logs else 'no leader'}, {end}"
            for tp, end in sorted(ends.items())
            if stored.get(tp, 0) != end
        ]
        async with self._asking:
            unsent = [tuple(row) for row in await (await self._connected()).fetch(UNSENT, timeout=5)]
        return f"partitions {partitions}; unsent events {unsent}"

    # Reading the state.

    async def position(self) -> int:
        """Return the number of handled records, with transaction markers; -1 if the database does not answer."""
        handled = await self.ask(HANDLED)
        return handled if handled < 0 else handled + self.handled_in_deleted_topics

    async def ask(self, question: str) -> int:
        """Return the number that the query selects, or -1 if the database does not answer."""
        async with self._asking:
            try:
                return int(await (await self._connected()).fetchval(question, timeout=5))
            except CONNECTION_ERRORS:
                self.disconnect()
                return -1

    async def stored_offsets(self) -> Mapping[Partition, int]:
        return await self._offsets(STORED_OFFSETS)

    async def read_offsets(self) -> Mapping[Partition, int]:
        """Return the offsets up to which no record is left to process: past the markers after the last one."""
        return await self._offsets(READ_OFFSETS)

    async def _offsets(self, query: str) -> Mapping[Partition, int]:
        async with self._asking:
            rows = await (await self._connected()).fetch(query, timeout=5)
        return {Partition(topic, partition): offset for topic, partition, offset in rows}

    async def _connected(self) -> asyncpg.Connection:
        if self._conn is None or self._conn.is_closed():
            self._conn = await Connector(self.database, SessionNeeds(name="els test")).connect()
        return self._conn

    def disconnect(self) -> None:
        """Close the session that reads the state; the next question opens one."""
        if self._conn is not None:
            self._conn.terminate()
            self._conn = None

    async def end_offsets(self) -> Mapping[Partition, int]:
        """Return the end offsets of the input topics."""
        async with self.consumer() as consumer:
            found = await consumer.end_offsets(await self._input())
            return {Partition(*tp): end for tp, end in found.items()}

    async def committed_offsets(self) -> Mapping[Partition, int]:
        """Return the offsets that the group has committed to Kafka."""
        async with self.consumer(group_id=self.settings.consumer_group) as consumer:
            asked = await self._input()
            found = await asyncio.gather(*map(consumer.committed, asked))
            return {Partition(*tp): end for tp, end in zip(asked, found, strict=True) if end is not None}

    async def _input(self) -> list[TopicPartition]:
        names = [self.settings.topic_prefix + topic for topic in INPUT_TOPICS]
        counts = await partition_counts(self.settings.broker, names)
        return [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]

    async def until_members(self, count: int) -> None:
        """Wait until the group is stable with so many members."""

        async def so_many() -> bool:
            try:
                async with self.admin() as admin:
                    (answer,) = await admin.describe_consumer_groups([self.settings.consumer_group])
            except KafkaError:
                return False
            ((_, _, state, _, _, until_members, *_),) = answer.groups
            return state in {"Stable", "Empty"} and len(until_members) == count

        await self.until(so_many)

    async def until_owned(self, *topics: str) -> None:
        """Wait until the group has assigned the partitions of these topics and no others."""
        names = {self.settings.topic_prefix + topic for topic in topics}
        group = ConsumerGroup(self.settings.broker, self.settings.consumer_group, sorted(names))

        async def these() -> bool:
            found = await group.describe()
            return isinstance(found, Ownership) and found.owned == found.partitions and not found.missing

        try:
            await self.until(these)
        finally:
            await group.close()

    # Checking the result.

    async def violations(self) -> list[str]:
        """Return the violations that `els verify --kafka` prints; what it only names is none."""
        found = [finding async for finding in verify(self.settings, kafka=True) if finding.violated]
        return [f"{finding.invariant}: {violation}" for finding in found for violation in finding.examples]

    async def observations(self) -> Observations:
        """Read the output topics from their beginning."""
        observations = Observations()
        prefix = self.settings.topic_prefix
        async for record in output_records(self.settings.broker, prefix):
            headers: Headers = tuple(record.headers)
            topic = record.topic.removeprefix(prefix)
            observations.add(
                RawRecord(topic, record.partition, record.offset, record.timestamp, record.key, record.value, headers)
            )
        return observations

    async def wrong(self, traffic: Traffic, observed: Observations | None = None) -> list[str]:
        """Stop the workers and return all that is wrong: exit codes, violations, events other than the traffic's."""
        codes = [f"a worker ended with {code}" for code in await self.pool.stop_all() if code]
        violations = await self.violations()
        return [*codes, *violations, *differences(traffic, observed or await self.observations())]

    # Kafka clients.

    @contextlib.asynccontextmanager
    async def consumer(self, group_id: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
        broker = str(self.settings.broker)
        consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=group_id, enable_auto_commit=False)
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=str(self.settings.broker))
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()
