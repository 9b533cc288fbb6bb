"""How far the log of an input topic goes beyond what the ledger says was handled, as an onlooker sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from els_stream.errors import ServersUnavailable
from els_stream.kafka.offsets import Partition
from els_stream.kafka.topics import partitions_of

PEEK_SECONDS: Final = 3.0
PEEK_MS: Final = 300


@dataclass(frozen=True, slots=True)
class PartitionLog:
    """Of one partition: the first offset that is still there, and the next that will be."""

    beginning: int
    end: int


async def read_logs(broker: str, topics: Collection[str]) -> dict[Partition, PartitionLog]:
    """Every partition of these topics, named as on the broker. Raises ServersUnavailable."""
    counts = await partitions_of(broker, list(topics))
    asked = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    async with _consumer(broker) as consumer:
        beginnings, ends = await consumer.beginning_offsets(asked), await consumer.end_offsets(asked)
    return {Partition(*tp): PartitionLog(beginnings[tp], ends[tp]) for tp in asked}


async def unread(
    broker: str, logs: Mapping[Partition, PartitionLog], positions: Mapping[Partition, int]
) -> dict[Partition, int]:
    """How many offsets lie from these positions to the ends; 0 where only markers of transactions do.

    A position below what is still there counts from there; without a position all of the log is unread.
    """
    left = {tp: log.end - max(positions.get(tp, log.beginning), log.beginning) for tp, log in logs.items()}
    behind = {tp: logs[tp].end - count for tp, count in left.items() if count > 0}
    async with _consumer(broker) as consumer:
        with_records = await _peek(consumer, behind, logs)
    return {tp: count if tp in with_records else 0 for tp, count in left.items()}


async def _peek(
    consumer: AIOKafkaConsumer, behind: Mapping[Partition, int], logs: Mapping[Partition, PartitionLog]
) -> set[Partition]:
    """Which partitions have a record from there on. One that did not answer in time counts as such."""
    waiting = {TopicPartition(*tp) for tp in behind}
    found: set[Partition] = set()
    consumer.assign(list(waiting))
    for tp in waiting:
        consumer.seek(tp, behind[Partition(*tp)])
    deadline = asyncio.get_running_loop().time() + PEEK_SECONDS
    while waiting and asyncio.get_running_loop().time() < deadline:
        for tp, records in (await consumer.getmany(*waiting, timeout_ms=PEEK_MS)).items():
            if records:
                found.add(Partition(*tp))
        waiting = {
            tp
            for tp in waiting
            if Partition(*tp) not in found and await consumer.position(tp) < logs[Partition(*tp)].end
        }
    return found | {Partition(*tp) for tp in waiting}


@asynccontextmanager
async def _consumer(broker: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker, enable_auto_commit=False, isolation_level="read_committed", max_poll_records=1
    )
    try:
        await consumer.start()
        yield consumer
    except KafkaError as error:
        raise ServersUnavailable(f"the broker {broker} does not answer: {error}") from error
    finally:
        await consumer.stop()
