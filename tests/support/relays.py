"""Helpers of the relay's tests: run relays, also as processes, read all records, and check their order."""

import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.events.topics import DEAD_LETTER, OUTPUT_TOPICS
from els_stream.failpoints import CONFIRMATION_VARIABLE, CONFIRMED, FAILPOINT_VARIABLE
from els_stream.kafka.broker import BrokerAddress
from els_stream.kafka.topics import MIB, TopicPlan, delete_topics, ensure_topics
from els_stream.queries.outbox_rows import OutboxRow
from els_stream.relay import Relay, RelayOptions

PARTITIONS = 4
ROOT = Path(__file__).parents[2]
QUICK = RelayOptions(
    poll_interval_seconds=0.2,
    shard_check_interval_seconds=0.1,
    lease_seconds=0.6,
    session_idle_timeout_seconds=1.2,
    topic_timeout_seconds=0.5,
    delivery_timeout_seconds=3.0,
    deferral_initial_seconds=0.2,
    deferral_max_seconds=0.5,
    retry_max_seconds=0.5,
)


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@asynccontextmanager
async def running_relay(
    engine: AsyncEngine, broker: BrokerAddress, prefix: str, options: RelayOptions = QUICK
) -> AsyncIterator[Relay]:
    """Run a relay in this process for the block."""
    relay = Relay(engine, broker=broker, topic_prefix=prefix, options=options)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


@asynccontextmanager
async def relay_process(
    database: str, broker: str, prefix: str, *flags: str, options: RelayOptions = QUICK, crash_at: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a relay in a process that a test can stop, continue and kill; it has started when the block begins.

    It ends at the failpoint `crash_at`.
    """
    environment = os.environ | ({FAILPOINT_VARIABLE: crash_at, CONFIRMATION_VARIABLE: CONFIRMED} if crash_at else {})
    command = [sys.executable, "-m", "tests.support.relay_process", database, broker, prefix]
    arguments = [json.dumps(asdict(options)), *flags]
    process = await asyncio.create_subprocess_exec(
        *command, *arguments, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"started\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def read_records(broker: str, names: Iterable[str]) -> list[PublishedRecord]:
    """Return all records that the topics have now, read by an ordinary consumer."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, fetch_max_wait_ms=50)
    await consumer.start()
    try:
        partitions = [TopicPartition(name, number) for name in names for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        seen: list[PublishedRecord] = []
        async with asyncio.timeout(30):
            while any([await consumer.position(partition) < end for partition, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    seen += [
                        PublishedRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
                        for r in records
                    ]
        return seen
    finally:
        await consumer.stop()


async def set_topic_config(broker: str, name: str, **config: str) -> None:
    """Set the config of a topic; underscores stand for dots, and options that are not given get the broker's default.

    The broker applies it a moment later.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        configs = {key.replace("_", "."): value for key, value in config.items()}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs)])
    finally:
        await admin.close()


class LogAppendTimePlan(TopicPlan):
    """The broker sets the timestamps, so that they show the order of arrival over topics, from whichever producer."""

    def config(self, replication_factor: int) -> dict[str, str]:
        return super().config(replication_factor) | {"message.timestamp.type": "LogAppendTime"}


@asynccontextmanager
async def timestamped_topics(broker: str, prefix: str, **max_bytes: int) -> AsyncIterator[dict[str, str]]:
    """Create the topics that relays publish to, for one test; yields logical name to the name on the broker.

    The config of a new topic applies from its first record; the broker applies a later change only after a moment.
    """
    names = {topic: prefix + topic for topic in (*OUTPUT_TOPICS, DEAD_LETTER)}
    plans = [LogAppendTimePlan(topic, 1, max_bytes.get(topic, 16 * MIB)) for topic in names]
    await ensure_topics(broker, prefix, PARTITIONS, topics=plans)
    yield names
    await delete_topics(broker, list(names.values()))


def assert_published_in_order(
    seen: Iterable[PublishedRecord], rows_by_batch: Mapping[str, Sequence[OutboxRow]], prefix: str
) -> None:
    """Check that each batch's rows are on their topics with their bytes, and in order.

    In order means: the first copy of a row is not before the first copy of the row before it.
    """
    copies: dict[bytes | None, dict[str, list[PublishedRecord]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(seen, key=lambda one: one.offset):
        copies[one.key][f"{one.topic} {one.value!r}"].append(one)
    assert copies.keys() == {batch.encode() for batch in rows_by_batch}
    for batch, rows in rows_by_batch.items():
        found = copies[batch.encode()]
        assert found.keys() == {f"{prefix}{row.event.topic} {row.event.value!r}" for row in rows}
        firsts = [found[f"{prefix}{row.event.topic} {row.event.value!r}"][0] for row in rows]
        for earlier, later in pairwise(firsts):
            if earlier.topic == later.topic:
                assert earlier.offset < later.offset, batch
            assert earlier.timestamp <= later.timestamp, batch
        for row in rows:
            for copy in found[f"{prefix}{row.event.topic} {row.event.value!r}"]:
                assert copy.headers == row.event.headers
