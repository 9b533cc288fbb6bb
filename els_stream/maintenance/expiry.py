"""Time: deadlines that passed with slots still empty, and parked events whose batch never registered.

Each call is one bounded step in the caller's transaction, judged by the database's clock under the tracker locks, and
only as far as the input was handled: an outage must not fire timeouts for contents that lie unread in Kafka.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from els_stream.domain.outcomes import Refused
from els_stream.errors import InventoryMismatch
from els_stream.events import builders, topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.outbound_event import EventContext
from els_stream.handlers.dead_letters import DeadLetterRequest, write_dead_letters
from els_stream.queries import expiry, outbox, slots, trackers
from els_stream.queries.outbox import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.kafka.offsets import Partition
    from els_stream.queries.trackers import LockedBatches

_FILL_SLOTS = (topics.CONTENT_PROVISIONED, topics.VALIDATION_FAILED)


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """Whose ledger says what was handled, and how long parked events wait; `step` bounds one transaction.

    `partitions` are those that the broker has of the input topics, under its names; empty while they are not known.
    """

    consumer_group: str
    topic_prefix: str
    parked_retention: timedelta
    partitions: Callable[[], Collection[Partition]]
    step: int = 100

    def of(self, *topics: str) -> list[Partition]:
        """All partitions of these topics; none if one of them has none."""
        names = {self.topic_prefix + topic for topic in topics}
        found = [partition for partition in self.partitions() if partition.topic in names]
        return found if {partition.topic for partition in found} == names else []


async def time_out_batches(conn: AsyncConnection, policy: ExpiryPolicy) -> int:
    """Tell of overdue batches once; content that comes later still counts. Returns how many, at most one step."""
    until = await _handled_until(conn, policy, *_FILL_SLOTS)
    overdue = [] if until is None else await expiry.overdue(conn, until, policy.step)
    if until is None or not overdue:
        return 0
    batches = await trackers.lock(conn, overdue)
    seconds = await expiry.time_out(conn, overdue, until)
    if seconds:
        await _tell_timeouts(conn, batches, seconds)
    return len(seconds)


async def give_up_parked(conn: AsyncConnection, policy: ExpiryPolicy) -> int:
    """Bury what waited too long for its registration. Returns how many events, of at most one step of batches."""
    until = await _handled_until(conn, policy, topics.BATCH_REGISTERED)
    waiting = [] if until is None else await expiry.forgotten(conn, until, policy.parked_retention, policy.step)
    if until is None or not waiting:
        return 0
    batches = await trackers.lock(conn, waiting)
    given_up = await expiry.take_forgotten(conn, waiting, until, policy.parked_retention)
    refusal = Refused(DeadLetterReason.NEVER_REGISTERED, "its batch was not registered in time")
    await write_dead_letters(conn, [DeadLetterRequest(event.record, event.batch_id, refusal) for event in given_up])
    for batch_id, count in Counter(event.batch_id for event in given_up).items():
        batches[batch_id].parked -= count
    await trackers.save(conn, [batches[batch_id] for batch_id in waiting])
    await expiry.remove_empty(conn, waiting)
    return len(given_up)


async def _handled_until(conn: AsyncConnection, policy: ExpiryPolicy, *topics: str) -> datetime | None:
    partitions = policy.of(*topics)
    return await expiry.handled_until(conn, policy.consumer_group, partitions) if partitions else None


async def _tell_timeouts(conn: AsyncConnection, batches: LockedBatches, seconds: Mapping[str, int]) -> None:
    batch_ids = sorted(seconds)
    filled = await slots.filled(conn, batch_ids)
    free = await expiry.free_essays(conn, batch_ids)
    rows = [_timeout(batches, batch_id, filled[batch_id], free[batch_id], seconds[batch_id]) for batch_id in batch_ids]
    await trackers.save(conn, [batches[batch_id] for batch_id in batch_ids])
    await outbox.put(conn, rows)


def _timeout(
    batches: LockedBatches, batch_id: str, filled: Sequence[tuple[str, str]], free: Sequence[str], seconds: int
) -> OutboxRow:
    batch = batches[batch_id]
    if batch.correlation_id is None:
        msg = "an open batch lacks what its registration said"
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
