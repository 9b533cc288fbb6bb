"""The events of the outbox as values, and the shards that they wait in."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from els_stream.fast_dataclass import fast_dataclass

if TYPE_CHECKING:
    from uuid import UUID

    from els_stream.events.outbound_event import OutboundEvent

# The first shards take events for a poll; the others take those that their writer publishes itself.
HASH_SHARDS: Final = 64
SHARD_COUNT: Final = HASH_SHARDS + 32


@fast_dataclass
class OutboxRow:
    """An event to be written. `sequence` ascends per order key; draw it under the lock that orders the key's facts.

    `input_timestamp_low31` is the truncated timestamp of the record that caused the event, None for a timer's event.
    """

    order_key: str
    sequence: int
    event: OutboundEvent
    input_timestamp_low31: int | None = None


class WaitingRow(NamedTuple):
    """An event as the relay publishes it; `topic` is the logical name, `headers` are as stored.

    A tuple, since one is made for every event that is published.
    """

    shard: int
    order_key: str
    event_id: UUID
    topic: str
    key: bytes | None
    value: bytes | None
    headers: bytes
    attempts: int
    input_timestamp_low31: int | None = None
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class FailedRow:
    """An event that was not published, and why."""

    row: WaitingRow
    error: str


def shard_of(order_key: str) -> int:
    """Return a shard for events whose key has none that wait; the same for equal keys, so that they spread evenly."""
    return zlib.crc32(order_key.encode()) % HASH_SHARDS


def to_waiting_row(row: OutboxRow, shard: int) -> WaitingRow:
    """Return the event as a fetch of that shard would return it just after it was written."""
    event = row.event
    return WaitingRow(
        shard,
        row.order_key,
        event.event_id,
        event.topic,
        event.key,
        event.value,
        event.stored_headers,
        0,
        row.input_timestamp_low31,
        row.sequence,
    )
