"""The offsets of the logs, and the number of unprocessed records, for commands outside the consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition

from els_stream.kafka.broker import BrokerAddress
from els_stream.kafka.clients import AIOKafkaConsumer
from els_stream.kafka.lifecycle import started
from els_stream.kafka.offsets import Partition
from els_stream.kafka.partition_read import KafkaClient, read_partition
from els_stream.kafka.topics import partition_counts

NO_LEADER: Final = -1
PEEK_TIMEOUT_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class PartitionLog:
    """The first offset that the log still has, and its end offset (exclusive)."""

    beginning: int
    end: int


async def read_logs(broker: BrokerAddress, topics: Collection[str]) -> dict[Partition, PartitionLog]:
    """Return the log of every partition of these topics (broker's names), without those that no broker leads.

    Raises ServersUnavailable.
    """
    counts = await partition_counts(broker, list(topics))
    partitions = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    if not partitions:
        return {}
    async with _consumer(broker) as consumer:
        client = consumer._client  # noqa: SLF001 - one partition without a leader would end the request for all
        await client.set_topics(set(counts))
        partitions = [tp for tp in partitions if client.cluster.leader_for_partition(tp) != NO_LEADER]
        beginnings, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    return {Partition(*tp): PartitionLog(beginnings[tp], ends[tp]) for tp in partitions}


async def lag(
    broker: BrokerAddress, logs: Mapping[Partition, PartitionLog], next_offsets: Mapping[Partition, int]
) -> dict[Partition, int]:
    """Return the number of offsets from these next offsets to the ends; 0 if only transaction markers are left.

    A next offset below the log's beginning, or none, counts from the beginning. Raises ServersUnavailable.
    """
    left = {tp: log.end - max(next_offsets.get(tp, log.beginning), log.beginning) for tp, log in logs.items()}
    starts = {tp: logs[tp].end - count for tp, count in left.items() if count > 0}
    with_records: set[Partition] = set()
    if starts:
        async with _consumer(broker) as consumer:
            with_records = await _with_records(consumer, starts, logs)
    return {tp: count if tp in with_records else 0 for tp, count in left.items()}


async def _with_records(
    consumer: AIOKafkaConsumer, starts: Mapping[Partition, int], logs: Mapping[Partition, PartitionLog]
) -> set[Partition]:
    """Return the partitions that have a record at or after these offsets, or did not answer in time."""
    client = consumer._client  # noqa: SLF001 - a record that aiokafka can't decode must not end this
    await client.set_topics({tp.topic for tp in starts})
    asked = list(starts)
    found = await asyncio.gather(*(_has_records(client, tp, starts[tp], logs[tp].end) for tp in asked))
    return {tp for tp, has_records in zip(asked, found, strict=True) if has_records}


async def _has_records(client: KafkaClient, partition: Partition, start: int, end: int) -> bool:
    deadline = asyncio.get_running_loop().time() + PEEK_TIMEOUT_SECONDS
    while start < end and asyncio.get_running_loop().time() < deadline:
        read = await read_partition(client, TopicPartition(*partition), start)
        if read.records or read.failure:
            return True
        start = read.position
    return start < end


@asynccontextmanager
async def _consumer(broker: BrokerAddress) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False, isolation_level="read_committed")
    async with started(consumer, consumer.stop, broker):
        yield consumer
