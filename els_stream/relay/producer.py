"""Wraps aiokafka's producer: it sends whole record batches, and each is answered or fails within a time limit.

An idempotent aiokafka producer retries for ever, and it counts a batch's sequence numbers when it first sends it. After
a batch that failed or timed out, the broker would reject the partition's next batch as out of order, or treat it as a
duplicate and ignore it. So after any failure the producer is abandoned, and the sender opens another.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol

from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from els_stream.errors import ServersUnavailable
from els_stream.events.headers import decode_headers
from els_stream.kafka.clients import AIOKafkaProducer

if TYPE_CHECKING:
    from els_stream.kafka.broker import BrokerAddress
    from els_stream.queries.outbox_rows import WaitingRow
    from els_stream.relay.options import RelayOptions

# Private names of aiokafka, used here and in `abandon`, since `stop` would wait for what cannot be delivered.
_sender_task = attrgetter("_sender.sender_task")
CLOSE_TIMEOUT_SECONDS: Final = 0.3
# The events of a batch have the same key and are published within a short time; murmur2 takes 10 µs for a key.
HASHED_KEYS: Final = 8_192
_MAX_CANCELS: Final = 3


class ProducerBatch(Protocol):
    """The methods of aiokafka's BatchBuilder that are used here. The first record always fits."""

    def append(
        self, *, timestamp: int | None, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> object | None: ...

    def size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Destination:
    topic: str
    partition: int


class Producer:
    """An idempotent producer with acks=all. Call `open` first; after a failed `deliver` only `abandon` is allowed."""

    def __init__(self, broker: BrokerAddress, options: RelayOptions) -> None:
        self._options = options
        self._producer = AIOKafkaProducer(
            bootstrap_servers=broker,
            enable_idempotence=True,
            acks="all",
            max_batch_size=options.batch_bytes,
            max_request_size=options.request_bytes,
            compression_type=options.compression,
            request_timeout_ms=int(options.delivery_timeout_seconds * 1000),
            retry_backoff_ms=50,
            metadata_max_age_ms=30_000,
        )
        self._hashed = lru_cache(maxsize=HASHED_KEYS)(murmur2)
        self._metadata_answers = 0
        self._producer.client.cluster.add_listener(self._count_metadata)

    async def open(self) -> None:
        """Connect to the broker, or raise ServersUnavailable with everything closed."""
        try:
            async with asyncio.timeout(self._options.delivery_timeout_seconds):
                await self._producer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await self.abandon()
            cause = self._producer.connections.cause or f"{error!r}"
            raise ServersUnavailable(f"the broker cannot be reached: {cause}") from error
        except asyncio.CancelledError:
            await self.abandon()
            raise

    async def partitions(self, topic: str) -> int | KafkaError | TimeoutError:
        """Return how many partitions the topic has, or an error if it is unknown or not authorized.

        TimeoutError: no broker answered for it, so nothing is known about the topic.
        """
        answers = self._metadata_answers
        try:
            async with asyncio.timeout(self._options.topic_timeout_seconds):
                return len(await self._producer.partitions_for(topic))
        except TimeoutError:
            # In a process that stood still, the answer may be there and only its waiter has not run yet.
            known = self._producer.client.cluster.partitions_for_topic(topic)
            if known is not None:
                return len(known)
            # The first answer may be to a request that was in flight and did not ask for this topic.
            answered = self._metadata_answers > answers + 1
            return KafkaError("unknown topic") if answered else TimeoutError("no broker answers")
        except KafkaError as error:
            return error

    def _count_metadata(self, _: object) -> None:
        self._metadata_answers += 1

    def partition(self, row: WaitingRow, partitions: int) -> int:
        """Return the partition by murmur2 over the key, as Kafka clients do; without a key, by the event's id."""
        if row.key is None:
            return row.event_id.int % partitions
        return int(self._hashed(row.key) & 0x7FFFFFFF) % partitions

    def batch(self) -> ProducerBatch:
        empty: ProducerBatch = self._producer.create_batch()
        return empty

    async def deliver(self, batch: ProducerBatch, to: Destination) -> KafkaError | TimeoutError | None:
        """Send the batch and return None once all in-sync replicas have it, or the error.

        A batch arrives whole or not at all.
        """
        try:
            async with asyncio.timeout(self._options.delivery_timeout_seconds):
                delivered = await self._producer.send_batch(batch, to.topic, partition=to.partition)
                await delivered
        except (KafkaError, TimeoutError) as error:
            return error
        return None

    async def abandon(self) -> None:
        """Close at once: batches in flight may still arrive, queued ones do not."""
        vars(self._producer)["_closed"] = True
        task: asyncio.Task[None] | None = _sender_task(self._producer)
        if task is not None:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._producer.client.close()
        # The task waits for its requests, one per node; each further cancel ends the wait for one that hangs.
        for _ in range(_MAX_CANCELS):
            if task is None or task.done():
                return
            await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_SECONDS)
            task.cancel()


def append(batch: ProducerBatch, row: WaitingRow) -> bool:
    """Append the row and return whether it fitted; after False the batch accepts no other row.

    Raise ValueError if the row cannot be encoded as a record.
    """
    headers = list(decode_headers(row.headers))
    if b"\\ud" in row.headers:
        # A lone surrogate in a header name, which a record of another team may have, would fail in the middle of the
        # batch.
        for name, _ in headers:
            name.encode()
    return batch.append(timestamp=None, key=row.key, value=row.value, headers=headers) is not None
