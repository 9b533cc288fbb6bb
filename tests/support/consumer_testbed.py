"""The test bed of the consumer: topics, real worker processes, and assertions on effects and stored offsets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.structs import OffsetAndMetadata
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.ports import new_ports
from els_stream.kafka.topics import delete_topics, partition_counts
from tests.support.effects_worker_process import ROOT, EffectsWorkerProcess
from tests.support.kafka_clients import admin_client, consumer_client
from tests.support.waiting import until

PARTITIONS = 3
STREAM_RECORDS = 200
STREAM_SECONDS = 0.05

CREATE_EFFECTS = text('CREATE TABLE effects (topic text, partition int, "offset" bigint, value bytea)')
DELETE_EFFECTS = text("TRUNCATE effects")
COUNT_EFFECTS = text("SELECT count(*) FROM effects")
DOUBLED_EFFECTS = text('SELECT topic, partition, "offset" FROM effects GROUP BY 1, 2, 3 HAVING count(*) > 1')
STORED_OFFSETS = text(
    "SELECT topic, partition, next_offset FROM consumed_offsets WHERE consumer_group = :consumer_group"
)
DEAD_LETTERS = text("SELECT convert_from(value, 'UTF8'), reason FROM dead_letters")


@dataclass
class ConsumerTestbed:
    broker: str
    database: str
    engine: AsyncEngine
    folder: Path
    prefix: str
    topics: list[str] = field(default_factory=list)
    group: str = field(default_factory=lambda: f"group-{uuid.uuid4().hex[:8]}")
    workers: list[EffectsWorkerProcess] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    output: int | None = None  # the descriptor for the output of workers, if it is not to go to a file

    def start(self, *, faults: dict[str, object] | None = None, **settings: object) -> EffectsWorkerProcess:
        """Start another worker; `settings` are named as their variables without ELS_."""
        port = new_ports(1)[0]
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ELS_")},
            "PYTHONPATH": str(ROOT),
            "ELS_BROKER_URL": self.broker,
            "ELS_DATABASE_URL": self.database,
            "ELS_CONSUMER_GROUP": self.group,
            "ELS_TOPIC_PREFIX": self.prefix,
            "ELS_WEB_PORT": str(port),
            "ELS_SESSION_TIMEOUT_SECONDS": "2",
            "ELS_HEARTBEAT_INTERVAL_SECONDS": "0.4",
            "ELS_REBALANCE_TIMEOUT_SECONDS": "11",
            "ELS_METADATA_MAX_AGE_SECONDS": "1",
            "ELS_RETRY_MAX_SECONDS": "1",
            "ELS_RELAY_ENABLED": "false",
            "EFFECTS_TOPICS": ",".join(self.topics),
            "EFFECTS_FAULTS": json.dumps(faults or {}),
            **self.settings,
            **{f"ELS_{name.upper()}": str(value) for name, value in settings.items()},
        }
        worker = EffectsWorkerProcess(env, self.folder / f"worker-{len(self.workers)}.log", port, self.output)
        self.workers.append(worker)
        return worker

    async def end(self) -> None:
        for worker in self.workers:
            if worker.running:
                worker.signal(signal.SIGCONT)
                await worker.kill()

    def log(self) -> str:
        return "\n".join(path.read_text()[-6000:] for path in sorted(self.folder.glob("worker-*.log")))

    def log_lengths(self) -> list[int]:
        """Return how many lines each worker has written."""
        return [len(path.read_text().splitlines()) for path in sorted(self.folder.glob("worker-*.log"))]

    # Kafka.

    async def make_topics(self, *names: str) -> None:
        async with admin_client(self.broker) as admin:
            await admin.create_topics([NewTopic(self.prefix + name, PARTITIONS, 1) for name in names])
        self.topics = list(dict.fromkeys([*self.topics, *names]))

    async def delete_records(self, offsets: dict[int, int]) -> None:
        """Delete the records before these offsets of `alpha`, as retention does."""
        async with admin_client(self.broker) as admin:
            await admin.delete_records(
                {TopicPartition(self.prefix + "alpha", number): RecordsToDelete(end) for number, end in offsets.items()}
            )

    async def delete_topics(self, *names: str) -> None:
        """Delete them; returns once the broker no longer names them: its controller answers sooner."""
        deleted = [self.prefix + name for name in names]

        async def gone() -> bool:
            return not await partition_counts(self.broker, deleted)

        await delete_topics(self.broker, deleted)
        await self.until(gone, 20)

    async def produce(
        self,
        values: Sequence[str | bytes],
        *,
        topic: str | None = None,
        partition: int | None = None,
        transaction: str | None = None,
    ) -> None:
        """Send values to all topics and partitions in turn, or to those given; in one transaction with this id."""
        producer = AIOKafkaProducer(bootstrap_servers=self.broker, linger_ms=5, transactional_id=transaction)
        await producer.start()
        try:
            if transaction is not None:
                await producer.begin_transaction()
            topics = self.topics if topic is None else [topic]
            acks = [
                await producer.send(
                    self.prefix + topics[number % len(topics)],
                    value if isinstance(value, bytes) else value.encode(),
                    partition=number // len(topics) % PARTITIONS if partition is None else partition,
                )
                for number, value in enumerate(values)
            ]
            await asyncio.gather(*acks)
            if transaction is not None:
                await producer.commit_transaction()
        finally:
            await producer.stop()
        self.sent += len(values)

    @asynccontextmanager
    async def streaming(self) -> AsyncIterator[None]:
        """Produce during the block, up to a limit ahead of the workers, so that they are always busy."""

        async def stream() -> None:
            while not over.is_set():
                if await self._has_effects(self.sent - STREAM_RECORDS * 10):
                    await self.produce([f"record {self.sent + number}" for number in range(STREAM_RECORDS)])
                with suppress(TimeoutError):
                    async with asyncio.timeout(STREAM_SECONDS):
                        await over.wait()

        over = asyncio.Event()
        streaming = asyncio.create_task(stream())
        try:
            yield
        finally:
            over.set()
            await streaming

    async def ends(self) -> dict[tuple[str, int], int]:
        async with consumer_client(self.broker) as consumer:
            asked = [
                TopicPartition(self.prefix + topic, number) for topic in self.topics for number in range(PARTITIONS)
            ]
            return {(tp.topic, tp.partition): end for tp, end in (await consumer.end_offsets(asked)).items()}

    async def set_group_offsets(self, offsets: dict[tuple[str, int], int]) -> None:
        """Commit offsets of the group from outside, while no worker runs."""
        async with consumer_client(self.broker, group_id=self.group) as consumer:
            consumer.assign([TopicPartition(*tp) for tp in offsets])
            await consumer.commit({TopicPartition(*tp): OffsetAndMetadata(end, "") for tp, end in offsets.items()})

    async def delete_effects(self) -> None:
        """Delete the effects of a recreated topic: its offsets begin again, and would look like doubles."""
        async with self.engine.begin() as conn:
            await conn.execute(DELETE_EFFECTS)
        self.sent = 0

    # Conditions.

    async def has_code(self, worker: EffectsWorkerProcess, code: str) -> bool:
        return code in await worker.codes()

    async def progress(self, count: int) -> None:
        """Wait for so many more effects than now."""
        await self.wait_for_effects(await self.count() + count)

    async def count(self) -> int:
        async with self.engine.connect() as conn:
            return int((await conn.execute(COUNT_EFFECTS)).scalar_one())

    async def taken_over(self, within: float = 40) -> None:
        """Wait until every partition advances, also those of a worker that is stopped or gone."""
        before = await self.stored_offsets()

        async def all_moved() -> bool:
            stored_offsets = await self.stored_offsets()
            return all(stored_offsets[tp] > offset for tp, offset in before.items())

        await self.until(all_moved, within)

    async def wait_for_effects(self, count: int, within: float = 30) -> None:
        await self.until(partial(self._has_effects, count), within)

    async def _has_effects(self, count: int) -> bool:
        try:
            return await self.count() >= count
        except (SQLAlchemyError, OSError):
            return False

    async def dead_letters(self) -> dict[str, str]:
        async with self.engine.connect() as conn:
            return {value: str(reason) for value, reason in await conn.execute(DEAD_LETTERS)}

    async def stored_offsets(self) -> dict[tuple[str, int], int]:
        async with self.engine.connect() as conn:
            rows = await conn.execute(STORED_OFFSETS, {"consumer_group": self.group})
            return {(topic, partition): offset for topic, partition, offset in rows}

    async def at_end(self) -> bool:
        stored_offsets, ends = await self.stored_offsets(), await self.ends()
        return all(stored_offsets.get(tp, 0) == end for tp, end in ends.items())

    async def all_processed_once(self, *, within: float = 40, but: int = 0) -> None:
        """Wait until everything is processed; assert one effect for each sent record, except for `but` of them."""
        await self.wait_for_effects(self.sent - but, within)
        await self.until(self.at_end, within)
        async with self.engine.connect() as conn:
            assert not (await conn.execute(DOUBLED_EFFECTS)).all()
        assert await self.count() == self.sent - but

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
        try:
            await until(condition, seconds=seconds)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; {await self._where()}\n{self.log()}") from None

    async def _where(self) -> str:
        try:
            return f"{await self.count()} of {self.sent}, stored offsets {await self.stored_offsets()}"
        except (SQLAlchemyError, OSError) as error:
            return f"no database: {error!r}"

    async def ready(self, worker: EffectsWorkerProcess, seconds: float = 20) -> None:
        async def is_ready() -> bool:
            return not await worker.codes()

        await self.until(is_ready, seconds)
