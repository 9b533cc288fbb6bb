"""Read the events of the output topics from Kafka, from the beginning to the present end."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

from aiokafka import TopicPartition

from els_stream.errors import ServersUnavailable
from els_stream.events.topics import DEAD_LETTER, OUTPUT_TOPICS
from els_stream.kafka.broker import BrokerAddress
from els_stream.kafka.clients import AIOKafkaConsumer
from els_stream.kafka.lifecycle import started
from els_stream.kafka.log_offsets import read_logs
from els_stream.kafka.offsets import Partition
from els_stream.kafka.partition_read import read_partition
from els_stream.kafka.topics import partition_counts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiokafka import ConsumerRecord

    from els_stream.kafka.log_offsets import PartitionLog

_POLL_TIMEOUT_MS: Final = 5000
# How far the clocks of database, workers and broker may differ, and how long after an event its copies may follow.
TOLERANCE_MS: Final = 600_000


@dataclass(slots=True)
class FirstCopy:
    """The oldest copy of an event, by its timestamp in milliseconds.

    `may_follow_deleted`: Kafka deleted the records before it, so they may have had an older copy.
    """

    topic: str
    batch_id: str
    timestamp: int
    crc: int
    may_follow_deleted: bool


@dataclass(slots=True)
class PublishedEvents:
    """The events of the topics whose names begin with `prefix`.

    `altered` are copies with other bytes than an earlier one; `without_id` are records that have no event id.
    `deleted_until`: by topic without prefix, the time in milliseconds until which its facts may have had events that
    Kafka has deleted; 0 if it has deleted none. A topic that does not exist has no entry.
    """

    prefix: str
    events: dict[UUID, FirstCopy] = field(default_factory=dict)
    copies: int = 0
    altered: list[str] = field(default_factory=list)
    without_id: list[str] = field(default_factory=list)
    deleted_until: dict[str, int] = field(default_factory=dict)
    _oldest: dict[Partition, tuple[int, int]] = field(default_factory=dict)  # offset and timestamp

    def add(self, record: ConsumerRecord) -> None:
        """Add a record: the first copy of an event, a further copy, or a record without an event id.

        The records of a partition come in order.
        """
        offset, timestamp = self._oldest.setdefault(
            Partition(record.topic, record.partition), (record.offset, record.timestamp)
        )
        headers = dict(record.headers)  # if a name is repeated, the last one is ours
        position = f"{record.topic}/{record.partition}/{record.offset}"
        try:
            identity = UUID(headers["ce_id"].decode())
        except (KeyError, ValueError):
            self.without_id.append(position)
            return
        crc = zlib.crc32(record.value or b"", zlib.crc32(record.key or b""))
        known = self.events.get(identity)
        if known is None:
            batch_id = headers.get("ce_subject", b"").decode(errors="replace")
            near = offset > 0 and record.timestamp <= timestamp + TOLERANCE_MS
            self.events[identity] = FirstCopy(
                record.topic.removeprefix(self.prefix), batch_id, record.timestamp, crc, near
            )
            return
        self.copies += 1
        known.timestamp = min(known.timestamp, record.timestamp)
        if known.crc != crc:
            self.altered.append(f"{identity} at {position}")

    def add_logs(self, logs: Mapping[Partition, PartitionLog], now: int) -> None:
        """Add the logs of all partitions, read after their records, and the time in milliseconds."""
        for partition, log in logs.items():
            topic = partition.topic.removeprefix(self.prefix)
            _, oldest = self._oldest.get(partition, (0, now))
            until = oldest + TOLERANCE_MS if log.beginning else 0
            self.deleted_until[topic] = max(until, self.deleted_until.get(topic, 0))


async def read_published_events(broker: BrokerAddress, prefix: str) -> PublishedEvents:
    """Read all events that the output topics and the dead letter topic hold now."""
    published = PublishedEvents(prefix)
    async for record in output_records(broker, prefix):
        published.add(record)
    published.add_logs(await read_logs(broker, _names(prefix)), time.time_ns() // 1_000_000)
    return published


async def output_records(broker: BrokerAddress, prefix: str) -> AsyncIterator[ConsumerRecord]:
    """Yield the records of those topics, from the beginning to the end at the time of the call."""
    counts = await partition_counts(broker, _names(prefix))
    partitions = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
    if not partitions:
        return
    # No seek to the beginning: a lookup of the default position that is under way would override it.
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_poll_records=5000,
    )
    async with started(consumer, consumer.stop, broker):
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        starts = {p: await consumer.position(p) for p in partitions}
        while unread := [p for p in partitions if starts[p] < ends[p]]:
            fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]
            try:
                fetched = await consumer.getmany(*unread, timeout_ms=_POLL_TIMEOUT_MS)
            except Exception:  # noqa: BLE001 - a record that aiokafka can't decode; what it drained before is lost
                fetched = await _read_alone(consumer, {p: starts[p] for p in unread})
            for records in fetched.values():
                for record in records:
                    yield record
            starts.update({p: await consumer.position(p) for p in unread})


def _names(prefix: str) -> list[str]:
    return [prefix + topic for topic in (*OUTPUT_TOPICS, DEAD_LETTER)]


async def _read_alone(
    consumer: AIOKafkaConsumer, starts: Mapping[TopicPartition, int]
) -> dict[TopicPartition, Sequence[ConsumerRecord]]:
    """Read each partition for itself and move the position behind what was read.

    Raises ServersUnavailable with the place for a record that nothing can decode.
    """
    found: dict[TopicPartition, Sequence[ConsumerRecord]] = {}
    for partition, start in starts.items():
        read = await read_partition(consumer._client, partition, start)  # noqa: SLF001
        if read.failure is not None and not read.failure.out_of_range:
            place = f"{partition.topic}/{partition.partition} at offset {read.position}"
            raise ServersUnavailable(f"{place} can't be read: {read.failure.cause}")
        found[partition] = read.records
        if read.failure is None:
            consumer.seek(partition, read.position)
    return found
