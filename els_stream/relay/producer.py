"""The one typed place around aiokafka's producer: whole batches, each answered or given up within a time.

An idempotent aiokafka producer retries for ever, and it counts a batch's sequence numbers when it first sends it. After
a batch that failed or was given up the broker would refuse the partition's next one as out of order, or take it for the
one it already has and drop it. So after any failure the producer is abandoned and another made.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from els_stream.errors import ServersUnavailable
from els_stream.events.headers import decode_headers

if TYPE_CHECKING:
    from els_stream.queries.outbox import WaitingRow
    from els_stream.relay.options import RelayOptions

# The private names of aiokafka that we touch, here and in `abandon`: `stop` would wait for what can't be delivered.
_routine = attrgetter("_sender.sender_task")
_GOODBYE_SECONDS: Final = 0.3
_NODES_TO_LEAVE: Final = 3


class ProducerBatch(Protocol):
    """The part of aiokafka's BatchBuilder that we use. The first record always fits."""

    def append(
        self, *, timestamp: int | None, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> object | None: ...

    def size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Destination:
    topic: str
    partition: int


class Producer:
    """Idempotent, acks=all. Not started until `open`; after any failed `deliver` only `abandon` is right."""

    def __init__(self, broker: str, options: RelayOptions) -> None:
        self._options = options
        self._producer = AIOKafkaProducer(
            bootstrap_servers=broker,
            enable_idempotence=True,
            acks="all",
            max_batch_size=options.batch_bytes,
            max_request_size=options.request_bytes,
            compression_type=options.compression,
            request_timeout_ms=int(options.delivery_seconds * 1000),
            retry_backoff_ms=50,
            metadata_max_age_ms=30_000,
        )
        self._hashed = lru_cache(maxsize=65_536)(murmur2)

    async def open(self) -> None:
        """Raises ServersUnavailable, and leaves nothing behind then."""
        try:
            async with asyncio.timeout(self._options.delivery_seconds):
                await self._producer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await self.abandon()
            raise ServersUnavailable(f"the broker can't be reached: {error!r}") from error
        except asyncio.CancelledError:
            await self.abandon()
            raise

    async def partitions(self, topic: str) -> int | KafkaError:
        """How many the topic has; an error where it is not known in time or not ours to see."""
        try:
            async with asyncio.timeout(self._options.topic_seconds):
                return len(await self._producer.partitions_for(topic))
        except TimeoutError:
            return KafkaError("unknown topic")
        except KafkaError as error:
            return error

    def partition(self, row: WaitingRow, partitions: int) -> int:
        """As every Kafka client hashes keys; without a key, the event's id spreads the rows."""
        if row.key is None:
            return row.event_id.int % partitions
        return int(self._hashed(row.key) & 0x7FFFFFFF) % partitions

    def batch(self) -> ProducerBatch:
        empty: ProducerBatch = self._producer.create_batch()
        return empty

    async def deliver(self, batch: ProducerBatch, to: Destination) -> KafkaError | TimeoutError | None:
        """None once all in-sync replicas have the whole batch; it arrives whole or not at all."""
        try:
            async with asyncio.timeout(self._options.delivery_seconds):
                delivered = await self._producer.send_batch(batch, to.topic, partition=to.partition)
                await delivered
        except (KafkaError, TimeoutError) as error:
            return error
        return None

    async def abandon(self) -> None:
        """Closes at once: what is in flight may still arrive, what is queued does not."""
        vars(self._producer)["_closed"] = True
        routine: asyncio.Task[None] | None = _routine(self._producer)
        if routine is not None:
            routine.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._producer.client.close()
        # The routine waits for its requests, one per node; each further cancel lets go of one that hangs.
        for _ in range(_NODES_TO_LEAVE):
            if routine is None or routine.done():
                return
            await asyncio.wait({routine}, timeout=_GOODBYE_SECONDS)
            routine.cancel()


def append(batch: ProducerBatch, row: WaitingRow) -> bool:
    """Whether the row fitted; a batch that refused one takes no other. ValueError: no client could write the row."""
    headers = list(decode_headers(row.headers))
    if b"\\ud" in row.headers:
        # A lone surrogate in a name, as a record of other teams may carry, would fail in the middle of the batch.
        for name, _ in headers:
            name.encode()
    return batch.append(timestamp=None, key=row.key, value=row.value, headers=headers) is not None
