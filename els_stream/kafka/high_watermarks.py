"""High watermarks: the ends of the logs with the records of upstream transactions that are still open.

The end offsets of a consumer that reads committed records only end before the first open transaction.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from aiokafka.errors import KafkaError
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from els_stream.kafka.offsets import Partition
from els_stream.kafka.partition_read import KafkaClient

LATEST: Final = -1
READ_UNCOMMITTED: Final = 0
LEADER_TIMEOUT_SECONDS: Final = 2.0


async def read_high_watermarks(client: KafkaClient, partitions: Iterable[Partition]) -> dict[Partition, int]:
    """Return the high watermarks, without partitions whose leader is away or does not answer in time."""
    by_leader: dict[int, list[Partition]] = defaultdict(list)
    for tp in partitions:
        leader = client.cluster.leader_for_partition(TopicPartition(*tp))
        if leader is not None and leader >= 0:
            by_leader[leader].append(tp)
    answers = await asyncio.gather(*(_ask(client, leader, asked) for leader, asked in by_leader.items()))
    return {tp: offset for answer in answers for tp, offset in answer.items()}


async def _ask(client: KafkaClient, leader: int, partitions: Iterable[Partition]) -> dict[Partition, int]:
    by_topic: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for tp in partitions:
        by_topic[tp.topic].append((tp.partition, LATEST))
    try:
        async with asyncio.timeout(LEADER_TIMEOUT_SECONDS):
            answer = await client.send(leader, OffsetRequest(-1, READ_UNCOMMITTED, list(by_topic.items())))
    except (KafkaError, OSError):
        return {}
    return {
        Partition(topic, number): offset
        for topic, found in answer.topics
        for number, error_code, _timestamp, offset in found
        if not error_code
    }
