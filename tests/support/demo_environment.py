"""Where class sets are sent through workers: a database, topics and a group of a run's own, looked at from outside."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from els_stream.config.settings import Settings
from els_stream.demo.check import differences
from els_stream.demo.expectations import Traffic
from els_stream.demo.messages import Message
from els_stream.demo.observations import Observations
from els_stream.errors import ServersUnavailable
from els_stream.events.headers import Headers
from els_stream.events.records import RawRecord
from els_stream.events.topics import INPUT_TOPICS
from els_stream.kafka.consumer_group import ConsumerGroup, Ownership
from els_stream.kafka.offsets import Partition
from els_stream.kafka.topics import ensure_topics, partition_counts
from els_stream.verify.kafka_events import output_records
from els_stream.verify.runner import verify
from tests.support.waiting import until
from tests.support.worker_pool import WorkerPool

PATIENCE_SECONDS = 90.0
TAIL = 4000
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)

LEDGER = "SELECT topic, partition, next_offset FROM consumed_offsets"
HANDLED = "SELECT coalesce(sum(next_offset), 0)::bigint FROM consumed_offsets"
WAITING = "SELECT count(*) FROM event_outbox"

Condition = Callable[[], Awaitable[bool]]


class DemoEnvironment:
    """To be used as a context: workers that are left at its end are killed."""

    def __init__(self, broker: str, database: str, prefix: str, folder: Path) -> None:
        self.settings = Settings(
            broker_url=broker, database_url=SecretStr(database), topic_prefix=prefix, consumer_group=f"{prefix}crew"
        )
        self.crew = WorkerPool(self.settings, folder / "workers.log")
        self._database = database
        self._conn: asyncpg.Connection | None = None

    async def __aenter__(self) -> Self:
        await ensure_topics(self.settings.broker, self.settings.topic_prefix)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.crew.kill_all()
        if self._conn is not None:
            self._conn.terminate()

    # What is sent and what happens.

    async def send(self, messages: Sequence[Message]) -> None:
        """Each once, also when the broker goes away meanwhile."""
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.broker, linger_ms=5, enable_idempotence=True)
        await producer.start()
        try:
            sent = [
                await producer.send(self.settings.topic_prefix + message.topic, message.value, key=message.key)
                for message in messages
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def until(self, condition: Condition) -> None:
        """Gives up after a time without progress: a long run may take long."""
        last, since = -1, time.monotonic()

        async def holds() -> bool:
            nonlocal last, since
            if await condition():
                return True
            self.crew.check()
            if (now := await self.position()) != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > PATIENCE_SECONDS:
                tail = self.crew.log.read_text(errors="replace")[-TAIL:]
                raise TimeoutError(f"no progress at {last} records; ledger {await self.ledger()}\n{tail}")
            return False

        await until(holds, seconds=None)

    async def handled(self, records: int) -> None:
        async def reached() -> bool:
            return await self.position() >= records

        await self.until(reached)

    async def all_handled(self) -> None:
        """The ledger stands at the end of every partition, and all that came of it was sent."""
        await self.until(self._all_handled)

    async def _all_handled(self) -> bool:
        if await self.ask(WAITING):
            return False
        try:
            ledger, ends = await self.ledger(), await self.ends()
        except (*AWAY, KafkaError, ServersUnavailable):
            return False
        return all(ledger.get(partition, 0) == end for partition, end in ends.items()) and not await self.ask(WAITING)

    # What can be seen.

    async def position(self) -> int:
        return await self.ask(HANDLED)

    async def ask(self, question: str) -> int:
        """-1 while the database is away."""
        try:
            return int(await (await self._connected()).fetchval(question, timeout=5))
        except AWAY:
            self._disconnect()
            return -1

    async def ledger(self) -> Mapping[Partition, int]:
        rows = await (await self._connected()).fetch(LEDGER, timeout=5)
        return {Partition(topic, partition): offset for topic, partition, offset in rows}

    async def _connected(self) -> asyncpg.Connection:
        if self._conn is None or self._conn.is_closed():
            self._conn = await asyncpg.connect(self._database, timeout=5)
        return self._conn

    def _disconnect(self) -> None:
        if self._conn is not None:
            self._conn.terminate()
            self._conn = None

    async def ends(self) -> Mapping[Partition, int]:
        """Of the input topics."""
        async with self.consumer() as consumer:
            found = await consumer.end_offsets(await self._input())
            return {Partition(*tp): end for tp, end in found.items()}

    async def told_group(self) -> Mapping[Partition, int]:
        """The offsets that the group has, where it has any."""
        async with self.consumer(group_id=self.settings.consumer_group) as consumer:
            asked = await self._input()
            found = await asyncio.gather(*map(consumer.committed, asked))
            return {Partition(*tp): end for tp, end in zip(asked, found, strict=True) if end is not None}

    async def _input(self) -> list[TopicPartition]:
        names = [self.settings.topic_prefix + topic for topic in INPUT_TOPICS]
        counts = await partition_counts(self.settings.broker, names)
        return [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]

    async def members(self, count: int) -> None:
        """Waits until the group has that many, and all of them have their partitions."""

        async def so_many() -> bool:
            try:
                async with self.admin() as admin:
                    (answer,) = await admin.describe_consumer_groups([self.settings.consumer_group])
            except KafkaError:
                return False
            ((_, _, state, _, _, members, *_),) = answer.groups
            return state in {"Stable", "Empty"} and len(members) == count

        await self.until(so_many)

    async def owned(self, *topics: str) -> None:
        """Waits until the members of the group have the partitions of these topics and no others."""
        names = {self.settings.topic_prefix + topic for topic in topics}
        group = ConsumerGroup(self.settings.broker, self.settings.consumer_group, sorted(names))

        async def these() -> bool:
            found = await group.describe()
            return isinstance(found, Ownership) and found.owned == found.partitions and not found.missing

        try:
            await self.until(these)
        finally:
            await group.close()

    # What must be true in the end.

    async def violations(self) -> list[str]:
        """What `els verify --kafka` would print."""
        found = [finding async for finding in verify(self.settings, kafka=True)]
        return [f"{finding.invariant}: {violation}" for finding in found for violation in finding.examples]

    async def broken_promises(self, traffic: Traffic) -> list[str]:
        """What the output topics hold against what must come of the traffic."""
        observations = Observations()
        prefix = self.settings.topic_prefix
        async for record in output_records(self.settings.broker, prefix):
            headers: Headers = tuple(record.headers)
            topic = record.topic.removeprefix(prefix)
            observations.add(
                RawRecord(topic, record.partition, record.offset, record.timestamp, record.key, record.value, headers)
            )
        return differences(traffic, observations)

    async def wrong(self, traffic: Traffic) -> list[str]:
        """Stops the workers; everything that is not as it must be."""
        codes = [f"a worker ended with {code}" for code in await self.crew.stop_all() if code]
        return [*codes, *await self.violations(), *await self.broken_promises(traffic)]

    # Kafka's clients.

    @contextlib.asynccontextmanager
    async def consumer(self, group_id: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.broker, group_id=group_id, enable_auto_commit=False)
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.broker)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()
