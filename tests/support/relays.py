"""What the relay's tests share: reading everything back, relays as processes, and the order that must hold."""

import asyncio
import json
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

from els_stream.events.topics import OUTPUT_TOPICS
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
class Seen:
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@asynccontextmanager
async def relaying(
    engine: AsyncEngine, broker: str, prefix: str, options: RelayOptions = QUICK
) -> AsyncIterator[Relay]:
    relay = Relay(engine, broker=broker, topic_prefix=prefix, options=options)
    await relay.start()
    try:
        yield relay
    finally:
        async with asyncio.timeout(2):
            await relay.stop()


@asynccontextmanager
async def relay_process(
    database: str, broker: str, prefix: str, *flags: str, options: RelayOptions = QUICK
) -> AsyncIterator[asyncio.subprocess.Process]:
    """One that can be stopped, continued and killed; it has begun when this is entered."""
    command = [sys.executable, "-m", "tests.support.relay_process", database, broker, prefix]
    told = json.dumps(asdict(options))
    process = await asyncio.create_subprocess_exec(*command, told, *flags, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"started\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def read_all(broker: str, names: Iterable[str]) -> list[Seen]:
    """Everything that lies in these topics now, by an ordinary consumer."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, fetch_max_wait_ms=50)
    await consumer.start()
    try:
        partitions = [TopicPartition(name, number) for name in names for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        seen: list[Seen] = []
        async with asyncio.timeout(30):
            while any([await consumer.position(partition) < end for partition, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    seen += [
                        Seen(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in records
                    ]
        return seen
    finally:
        await consumer.stop()


async def configure(broker: str, name: str, **config: str) -> None:
    """Underscores stand for dots; what is not given falls back to the broker's default. Takes the broker a moment."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        configs = {key.replace("_", "."): value for key, value in config.items()}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs)])
    finally:
        await admin.close()


class StampedPlan(TopicPlan):
    """Timestamps are the broker's, so that they tell the order of arrival over topics, whoever sent."""

    def config(self, replication_factor: int) -> dict[str, str]:
        return super().config(replication_factor) | {"message.timestamp.type": "LogAppendTime"}


@asynccontextmanager
async def stamped_topics(broker: str, prefix: str, **max_bytes: int) -> AsyncIterator[dict[str, str]]:
    """The output topics, made for one test: logical name to the name on the broker.

    What a topic is made with holds from its first record on; a setting that is changed later takes the broker a moment.
    """
    names = {topic: prefix + topic for topic in OUTPUT_TOPICS}
    plans = [StampedPlan(topic, 1, max_bytes.get(topic, 16 * MIB)) for topic in names]
    await ensure_topics(broker, prefix, PARTITIONS, topics=plans)
    yield names
    await delete_topics(broker, list(names.values()))


def assert_all_arrived_in_order(seen: Iterable[Seen], stories: Mapping[str, Sequence[OutboxRow]], prefix: str) -> None:
    """Per batch, counting first copies: every row, on its topic, with its bytes, not before the row it follows."""
    copies: dict[bytes | None, dict[str, list[Seen]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(seen, key=lambda one: one.offset):
        copies[one.key][f"{one.topic} {one.value!r}"].append(one)
    assert copies.keys() == {batch.encode() for batch in stories}
    for batch, rows in stories.items():
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
