"""Kafka clients: those that are closed at the end of a block, and a producer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import DefaultPartitioner


@asynccontextmanager
async def admin_client(broker: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def consumer_client(broker: str, group_id: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=group_id, enable_auto_commit=False)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def started_producer(broker: str, partitions: int | None) -> AIOKafkaProducer:
    """Start an idempotent producer that uses the first so many partitions of each topic, or all."""
    producer = AIOKafkaProducer(
        bootstrap_servers=broker, linger_ms=5, enable_idempotence=True, partitioner=partial(_partition_of, partitions)
    )
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer


def _partition_of(count: int | None, key: bytes | None, all_: list[int], available: list[int]) -> int:
    """Return the partition for the key among the first so many; Java's client chooses the same."""
    first = [[number for number in numbers if count is None or number < count] for numbers in (all_, available)]
    return DefaultPartitioner()(key, *first)
