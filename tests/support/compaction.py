"""Makes Kafka compact a topic at once."""

from __future__ import annotations

import uuid

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.support.demo_environment import DemoEnvironment

BROKER = "1"
EAGER_CLEANER = {"log.cleaner.backoff.ms": "50"}
COMPACTED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.0001",
    "segment.ms": "1",
}
KEPT = {"cleanup.policy": "delete"}


async def compact(env: DemoEnvironment, topic: str) -> int:
    """Compact a topic to which nothing writes; return how many records were removed. Later records are kept."""
    name = env.settings.topic_prefix + topic
    before = await count(env, name)
    await begin(env, name)

    async def cleaned() -> bool:
        return await count(env, name) < before

    await env.until(cleaned)
    await end(env, name)
    return before - await count(env, name)


async def begin(env: DemoEnvironment, name: str) -> None:
    """Let the broker compact the topic with this name, which has that prefix, as soon as it can."""
    async with env.admin() as admin:
        await _alter(admin, ConfigResourceType.BROKER, BROKER, EAGER_CLEANER)
        await _alter(admin, ConfigResourceType.TOPIC, name, COMPACTED)
    partitions = [partition for partition in await env.end_offsets() if partition.topic == name]
    await _close_segments(env, [TopicPartition(*partition) for partition in partitions])


async def end(env: DemoEnvironment, name: str) -> None:
    """Keep later records."""
    async with env.admin() as admin:
        await _alter(admin, ConfigResourceType.TOPIC, name, KEPT)
        await _alter(admin, ConfigResourceType.BROKER, BROKER, {})


async def _alter(admin: AIOKafkaAdminClient, kind: ConfigResourceType, name: str, configs: dict[str, str]) -> None:
    """Set these settings; all others get their default."""
    for answer in await admin.alter_configs([ConfigResource(kind, name, configs=configs)]):
        for resource in answer.to_object()["resources"]:
            assert not resource["error_code"], resource


async def _close_segments(env: DemoEnvironment, partitions: list[TopicPartition]) -> None:
    """Begin new segments, as Kafka never compacts the active one. The aborted record is never delivered."""
    producer = AIOKafkaProducer(bootstrap_servers=str(env.settings.broker), transactional_id=f"{uuid.uuid4()}")
    await producer.start()
    try:
        await producer.begin_transaction()
        for partition in partitions:
            await producer.send_and_wait(partition.topic, b"", key=b"", partition=partition.partition)
        await producer.abort_transaction()
    finally:
        await producer.stop()


async def count(env: DemoEnvironment, name: str) -> int:
    """Return the number of records in the topic."""
    async with env.consumer() as consumer:
        partitions = [TopicPartition(*partition) for partition in await env.end_offsets() if partition.topic == name]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        end_offsets = await consumer.end_offsets(partitions)
        found = 0
        while [tp for tp in partitions if await consumer.position(tp) < end_offsets[tp]]:
            found += sum(map(len, (await consumer.getmany(timeout_ms=200)).values()))
        return found
