"""Writes contents to Kafka in a transaction that is committed later, so that they are visible at once.

So workers can be up, have shared the partitions among them and be warm when their work appears, all of it at once.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from aiokafka.structs import RecordMetadata

from tests.benchmarks.environment import PARTITIONS
from tests.benchmarks.load import Content

BATCH_BYTES = 512 * 1024
PATIENCE_MS = 900_000  # as long as the broker allows

Release: TypeAlias = Callable[[], Awaitable[None]]


@asynccontextmanager
async def preloaded(broker: str, topic: str, contents: Iterable[Content]) -> AsyncIterator[Release]:
    """Yield a function that commits the contents. Stock Faust reads them before that, our consumer does not."""
    producer = AIOKafkaProducer(
        bootstrap_servers=broker,
        transactional_id=f"bench-{uuid.uuid4().hex[:8]}",
        transaction_timeout_ms=PATIENCE_MS,
        max_batch_size=BATCH_BYTES,
        acks="all",
    )
    async with producer:
        await producer.begin_transaction()
        await write(producer, topic, contents)
        yield producer.commit_transaction


async def preload(broker: str, topic: str, contents: Iterable[Content]) -> None:
    """Send the contents without a transaction."""
    async with AIOKafkaProducer(bootstrap_servers=broker, max_batch_size=BATCH_BYTES, acks="all") as producer:
        await write(producer, topic, contents)


async def write(
    producer: AIOKafkaProducer, topic: str, contents: Iterable[Content], partitions: int = PARTITIONS
) -> None:
    """Send all and wait for the acks; contents without a key are spread over the partitions in turn."""
    hashed = lru_cache(maxsize=65_536)(murmur2)
    open_batches = {number: producer.create_batch() for number in range(partitions)}
    acks: list[asyncio.Future[RecordMetadata]] = []
    for number, (key, value) in enumerate(contents):
        partition = (number if key is None else hashed(key) & 0x7FFFFFFF) % partitions
        if open_batches[partition].append(timestamp=None, key=key, value=value) is None:
            acks.append(await producer.send_batch(open_batches[partition], topic, partition=partition))
            open_batches[partition] = producer.create_batch()
            open_batches[partition].append(timestamp=None, key=key, value=value)
    for partition, batch in open_batches.items():
        if batch.record_count():
            acks.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*acks)
