"""Reads the output topics with an ordinary consumer, as other services do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from els_stream.embedded.processes import shielded, wait_until
from els_stream.events.records import RawRecord
from els_stream.events.topics import DEAD_LETTER, OUTPUT_TOPICS
from els_stream.kafka.clients import AIOKafkaConsumer
from els_stream.kafka.lifecycle import stop

if TYPE_CHECKING:
    from els_stream.config.settings import Settings
    from els_stream.demo.observations import Observations

POLL_MS: Final = 200
MAX_RECORDS: Final = 2000


class OutputConsumer:
    """Adds every record of the output topics to `observations`."""

    def __init__(self, consumer: AIOKafkaConsumer, prefix: str, observations: Observations) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self._observations = observations

    async def run(self) -> None:
        """Consume until cancelled."""
        while True:
            await self._consume(POLL_MS)

    async def drain(self) -> None:
        """Consume up to the present end of the topics; must not be called while `run` runs."""
        await wait_until(lambda: bool(self._consumer.assignment()))
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        while [tp for tp, end in ends.items() if await self._consumer.position(tp) < end]:
            await self._consume(POLL_MS)

    async def _consume(self, timeout_ms: int) -> None:
        for records in (await self._consumer.getmany(timeout_ms=timeout_ms)).values():
            for record in records:
                topic = record.topic.removeprefix(self._prefix)
                headers = tuple(record.headers)
                self._observations.add(
                    RawRecord(
                        topic, record.partition, record.offset, record.timestamp, record.key, record.value, headers
                    )
                )


@contextlib.asynccontextmanager
async def consume_outputs(settings: Settings, observations: Observations) -> AsyncIterator[OutputConsumer]:
    """Yield a started consumer of all output topics; stop it after the block."""
    prefix = settings.topic_prefix
    consumer = AIOKafkaConsumer(
        *(prefix + topic for topic in (*OUTPUT_TOPICS, DEAD_LETTER)),
        bootstrap_servers=settings.broker,
        group_id=f"{settings.consumer_group}-audience",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=MAX_RECORDS,
    )
    try:
        await consumer.start()
        yield OutputConsumer(consumer, prefix, observations)
    finally:
        await shielded(stop(consumer.stop))
