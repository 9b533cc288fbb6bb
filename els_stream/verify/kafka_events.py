"""What Kafka holds on our output topics, read by an ordinary consumer from the beginning to the end of now."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition

from els_stream.events.topics import DEAD_LETTER, OUTPUT_TOPICS
from els_stream.kafka.topics import partition_counts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import ConsumerRecord

_PATIENCE_MS: Final = 5000


@dataclass(slots=True)
class FirstCopy:
    """The first copy of an event in the log: by time, since topics and partitions share no offsets."""

    topic: str
    batch_id: str
    timestamp: int
    crc: int


@dataclass(slots=True)
class Published:
    """`altered` are ids that came again with other bytes; `nameless` places of records without an id of ours."""

    events: dict[UUID, FirstCopy] = field(default_factory=dict)
    copies: int = 0
    altered: list[str] = field(default_factory=list)
    nameless: list[str] = field(default_factory=list)

    def see(self, record: ConsumerRecord, prefix: str) -> None:
        headers = dict(record.headers)  # of a repeated name the last, which is ours
        place = f"{record.topic}/{record.partition}/{record.offset}"
        try:
            identity = UUID(headers["ce_id"].decode())
        except (KeyError, ValueError):
            self.nameless.append(place)
            return
        crc = zlib.crc32(record.value or b"", zlib.crc32(record.key or b""))
        known = self.events.get(identity)
        if known is None:
            batch_id = headers.get("ce_subject", b"").decode(errors="replace")
            self.events[identity] = FirstCopy(record.topic.removeprefix(prefix), batch_id, record.timestamp, crc)
            return
        self.copies += 1
        known.timestamp = min(known.timestamp, record.timestamp)
        if known.crc != crc:
            self.altered.append(f"{identity} at {place}")


async def read_published(broker: str, prefix: str) -> Published:
    """Everything that the output topics and the dead letter topic hold at the time of the call."""
    published = Published()
    async for record in output_records(broker, prefix):
        published.see(record, prefix)
    return published


async def output_records(broker: str, prefix: str) -> AsyncIterator[ConsumerRecord]:
    """The records of those topics, from the beginning to what was the end when this began."""
    counts = await partition_counts(broker, [prefix + topic for topic in (*OUTPUT_TOPICS, DEAD_LETTER)])
    partitions = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
    # Not by a seek: the client's first look for the default place may be under way, and its answer would win.
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_poll_records=5000,
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        while behind := [p for p in partitions if await consumer.position(p) < ends[p]]:
            for records in (await consumer.getmany(*behind, timeout_ms=_PATIENCE_MS)).values():
                for record in records:
                    yield record
    finally:
        await consumer.stop()
