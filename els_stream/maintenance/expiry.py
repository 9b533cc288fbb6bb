"""Expiry: time-outs of batches whose deadline passed, and of pending events whose batch never registered.

Each function is one bounded step in the caller's transaction. It judges by the database's clock, under the tracker
locks, and only up to the watermark, the time up to which all input was processed: an outage must not cause time-outs
while contents are still unread in Kafka.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from els_stream.domain.outcomes import Refused
from els_stream.errors import InventoryMismatch
from els_stream.events import builders, topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.outbound_event import EventContext
from els_stream.handlers.dead_letters import DeadLetterRequest, write_dead_letters
from els_stream.kafka.topics import list_partitions
from els_stream.queries import expiry, outbox, slots, trackers
from els_stream.queries.outbox_rows import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.config.settings import Settings
    from els_stream.kafka.offsets import Partition
    from els_stream.queries.trackers import LockedBatches

# Topics whose unread records may fill a slot, and so complete a batch before its time-out.
SLOT_TOPICS: Final = (topics.CONTENT_PROVISIONED, topics.VALIDATION_FAILED)
REGISTRATION_TOPICS: Final = (topics.BATCH_REGISTERED,)

PartitionSource: TypeAlias = "Callable[[Sequence[str]], Awaitable[frozenset[Partition]]]"


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """The consumer group whose stored offsets count, and limits. `step` bounds the batches of one transaction.

    `list_partitions` asks the broker for all partitions of topics under its names; raises ServersUnavailable.
    """

    list_partitions: PartitionSource
    consumer_group: str
    topic_prefix: str
    pending_retention: timedelta
    step: int = 100

    @classmethod
    def from_settings(cls, settings: Settings) -> ExpiryPolicy:
        return cls(
            partial(list_partitions, settings.broker),
            settings.consumer_group,
            settings.topic_prefix,
            timedelta(days=settings.pending_retention_days),
        )

    async def partitions_of(self, logical_topics: Collection[str]) -> frozenset[Partition]:
        """Ask the broker for all partitions of these topics; return none if one of the topics is missing.

        Raises ServersUnavailable when the broker does not answer in time.
        """
        names = [self.topic_prefix + topic for topic in logical_topics]
        partitions = await self.list_partitions(names)
        return partitions if {tp.topic for tp in partitions} == set(names) else frozenset()


async def time_out_batches(conn: AsyncConnection, policy: ExpiryPolicy, partitions: Collection[Partition]) -> int:
    """Publish one time-out for each overdue batch; contents that come later still count. Return how many.

    `partitions` are all of SLOT_TOPICS; without any, nothing expires.
    """
    watermark = await _watermark(conn, policy, partitions)
    overdue = [] if watermark is None else await expiry.overdue(conn, watermark, policy.step)
    if watermark is None or not overdue:
        return 0
    batches = await trackers.lock(conn, overdue)
    seconds = await expiry.time_out(conn, overdue, watermark)
    if seconds:
        await _publish_timeouts(conn, batches, seconds)
    return len(seconds)


async def expire_pending(conn: AsyncConnection, policy: ExpiryPolicy, partitions: Collection[Partition]) -> int:
    """Turn pending events that waited longer than the retention into dead letters. Return how many events.

    `partitions` are all of REGISTRATION_TOPICS; without any, nothing expires.
    """
    watermark = await _watermark(conn, policy, partitions)
    if watermark is None:
        return 0
    batch_ids = await expiry.batches_with_expired(conn, watermark, policy.pending_retention, policy.step)
    if not batch_ids:
        return 0
    batches = await trackers.lock(conn, batch_ids)
    expired = await expiry.take_expired(conn, batch_ids, watermark, policy.pending_retention)
    refusal = Refused(DeadLetterReason.NEVER_REGISTERED, "its batch was not registered in time")
    await write_dead_letters(conn, [DeadLetterRequest(event.record, event.batch_id, refusal) for event in expired])
    for batch_id, count in Counter(event.batch_id for event in expired).items():
        batches[batch_id].pending -= count
    await trackers.save(conn, [batches[batch_id] for batch_id in batch_ids])
    await expiry.delete_empty(conn, batch_ids)
    return len(expired)


async def _watermark(conn: AsyncConnection, policy: ExpiryPolicy, partitions: Collection[Partition]) -> datetime | None:
    return await expiry.watermark(conn, policy.consumer_group, partitions) if partitions else None


async def _publish_timeouts(conn: AsyncConnection, batches: LockedBatches, seconds: Mapping[str, int]) -> None:
    batch_ids = sorted(seconds)
    filled = await slots.filled(conn, batch_ids)
    free = await expiry.free_essays(conn, batch_ids)
    rows = [_timeout(batches, batch_id, filled[batch_id], free[batch_id], seconds[batch_id]) for batch_id in batch_ids]
    await outbox.put(conn, rows, batches)
    await trackers.save(conn, [batches[batch_id] for batch_id in batch_ids])


def _timeout(
    batches: LockedBatches, batch_id: str, filled: Sequence[tuple[str, str]], free: Sequence[str], seconds: int
) -> OutboxRow:
    batch = batches[batch_id]
    if batch.correlation_id is None:
        msg = "an open batch lacks fields of its registration"
        raise InventoryMismatch(msg)
    event = builders.readiness_timeout(
        EventContext(batch_id=batch_id, correlation_id=batch.correlation_id, now=batches.now),
        essays=filled,
        missing_essay_ids=free,
        expected_count=batch.expected,
        timeout_duration_seconds=seconds,
    )
    sequence, batch.next_sequence = batch.next_sequence, batch.next_sequence + 1
    return OutboxRow(batch_id, sequence, event)
