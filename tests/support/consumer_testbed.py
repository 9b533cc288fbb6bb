"""The test bed of the intake: topics, real worker processes, and what must be true of effects and ledger at the end."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.structs import OffsetAndMetadata
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.ports import new_ports
from tests.support.waiting import until

ENTRY = Path(__file__).with_name("effects_worker.py")
ROOT = Path(__file__).parent.parent.parent
PARTITIONS = 3
STREAM_RECORDS = 200
STREAM_SECONDS = 0.05

CREATE = text('CREATE TABLE effects (topic text, partition int, "offset" bigint, value bytea)')
FORGET = text("TRUNCATE effects")
COUNT = text("SELECT count(*) FROM effects")
DOUBLED = text('SELECT topic, partition, "offset" FROM effects GROUP BY 1, 2, 3 HAVING count(*) > 1')
VALUES = text("SELECT convert_from(value, 'UTF8') FROM effects")
LEDGER = text("SELECT topic, partition, next_offset FROM consumed_offsets WHERE consumer_group = :consumer_group")
BURIED = text("SELECT convert_from(value, 'UTF8'), reason FROM dead_letters")


class Worker:
    """A process of its own. `stop` and `kill` return when it is gone."""

    def __init__(self, env: dict[str, str], log: Path, port: int) -> None:
        self.web = f"127.0.0.1:{port}"
        with log.open("ab") as out:
            self.process = subprocess.Popen([sys.executable, str(ENTRY)], env=env, cwd=ROOT, stdout=out, stderr=out)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def stop(self) -> float:
        """Asks it to stop; returns how long that took."""
        started = time.monotonic()
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, 20)
        return time.monotonic() - started

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        return await asyncio.to_thread(_get, self.web, path)

    async def codes(self) -> set[str]:
        """Why it is not ready; empty when it is. `down` while its web server does not answer."""
        status, body = await self.get("/readyz")
        return {"down"} if not status else {str(reason["code"]) for reason in body["reasons"]}


def _get(address: str, path: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    except OSError:
        return 0, {}
    finally:
        connection.close()


@dataclass
class ConsumerTestbed:
    broker: str
    database: str
    engine: AsyncEngine
    folder: Path
    prefix: str
    topics: list[str] = field(default_factory=list)
    group: str = field(default_factory=lambda: f"group-{uuid.uuid4().hex[:8]}")
    workers: list[Worker] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    sent: int = 0

    def start(self, *, faults: dict[str, object] | None = None, **settings: object) -> Worker:
        """Another worker; `settings` by their variables without ELS_."""
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
        worker = Worker(env, self.folder / f"worker-{len(self.workers)}.log", port)
        self.workers.append(worker)
        return worker

    async def end(self) -> None:
        for worker in self.workers:
            if worker.running:
                worker.signal(signal.SIGCONT)
                await worker.kill()

    def log(self) -> str:
        return "\n".join(path.read_text()[-6000:] for path in sorted(self.folder.glob("worker-*.log")))

    # Kafka.

    async def make_topics(self, *names: str) -> None:
        async with _admin(self.broker) as admin:
            await admin.create_topics([NewTopic(self.prefix + name, PARTITIONS, 1) for name in names])
        self.topics = list(dict.fromkeys([*self.topics, *names]))

    async def cut(self, offsets: dict[int, int]) -> None:
        """Kafka forgets what lies before these offsets of `alpha`, as retention does."""
        async with _admin(self.broker) as admin:
            await admin.delete_records(
                {TopicPartition(self.prefix + "alpha", number): RecordsToDelete(end) for number, end in offsets.items()}
            )

    async def delete_topics(self, *names: str) -> None:
        async with _admin(self.broker) as admin:
            await admin.delete_topics([self.prefix + name for name in names])

    async def produce(
        self, values: Sequence[str | bytes], *, topic: str | None = None, partition: int | None = None
    ) -> None:
        """In turns over topics and partitions, or to those named."""
        producer = AIOKafkaProducer(bootstrap_servers=self.broker, linger_ms=5)
        await producer.start()
        try:
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
        finally:
            await producer.stop()
        self.sent += len(values)

    @asynccontextmanager
    async def streaming(self) -> AsyncIterator[None]:
        """Records keep coming in the body, ahead of the workers but not without a bound: there always is a middle."""

        async def stream() -> None:
            while not over.is_set():
                if await self._handled(self.sent - STREAM_RECORDS * 10):
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
        async with _consumer(self.broker) as consumer:
            asked = [
                TopicPartition(self.prefix + topic, number) for topic in self.topics for number in range(PARTITIONS)
            ]
            return {(tp.topic, tp.partition): end for tp, end in (await consumer.end_offsets(asked)).items()}

    async def move_group(self, offsets: dict[tuple[str, int], int]) -> None:
        """While no worker runs, as an operator would."""
        async with _consumer(self.broker, group_id=self.group) as consumer:
            consumer.assign([TopicPartition(*tp) for tp in offsets])
            await consumer.commit({TopicPartition(*tp): OffsetAndMetadata(end, "") for tp, end in offsets.items()})

    async def forget_effects(self) -> None:
        """Offsets begin again, so effects of the old ones would look like doubles."""
        async with self.engine.begin() as conn:
            await conn.execute(FORGET)
        self.sent = 0

    # What must be true.

    async def says(self, worker: Worker, code: str) -> bool:
        return code in await worker.codes()

    async def more(self, count: int) -> None:
        """That many more effects than now: somebody is working."""
        await self.handled(await self.count() + count)

    async def count(self) -> int:
        async with self.engine.connect() as conn:
            return int((await conn.execute(COUNT)).scalar_one())

    async def taken_over(self, within: float = 40) -> None:
        """Every partition gets on from where it is now: also those of a worker that sleeps or is gone."""
        before = await self.ledger()

        async def all_moved() -> bool:
            ledger = await self.ledger()
            return all(ledger[tp] > offset for tp, offset in before.items())

        await self.until(all_moved, within)

    async def handled(self, count: int, within: float = 30) -> None:
        await self.until(partial(self._handled, count), within)

    async def _handled(self, count: int) -> bool:
        try:
            return await self.count() >= count
        except (SQLAlchemyError, OSError):
            return False

    async def buried(self) -> dict[str, str]:
        async with self.engine.connect() as conn:
            return {value: str(reason) for value, reason in await conn.execute(BURIED)}

    async def ledger(self) -> dict[tuple[str, int], int]:
        async with self.engine.connect() as conn:
            rows = await conn.execute(LEDGER, {"consumer_group": self.group})
            return {(topic, partition): offset for topic, partition, offset in rows}

    async def at_the_end(self) -> bool:
        ledger, ends = await self.ledger(), await self.ends()
        return all(ledger.get(tp, 0) == end for tp, end in ends.items())

    async def all_done_once(self, *, within: float = 40, but: int = 0) -> None:
        """Everything sent, less `but`, has its one effect, and the ledger stands at the end of every partition."""
        await self.handled(self.sent - but, within)
        await self.until(self.at_the_end, within)
        async with self.engine.connect() as conn:
            assert not (await conn.execute(DOUBLED)).all()
        assert await self.count() == self.sent - but

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
        try:
            await until(condition, seconds=seconds)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; {await self._where()}\n{self.log()}") from None

    async def _where(self) -> str:
        try:
            return f"{await self.count()} of {self.sent}, ledger {await self.ledger()}"
        except (SQLAlchemyError, OSError) as error:
            return f"no database: {error!r}"

    async def ready(self, worker: Worker, seconds: float = 20) -> None:
        async def is_ready() -> bool:
            return not await worker.codes()

        await self.until(is_ready, seconds)


@asynccontextmanager
async def _admin(broker: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def _consumer(broker: str, group_id: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=group_id, enable_auto_commit=False)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
