"""Reading the published events."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaProducer

from els_stream.embedded.servers import Addresses
from els_stream.events.topics import SLOT_ASSIGNED
from els_stream.verify.kafka_events import output_records

READERS = 30


async def test_many_readers_at_once_each_read_all_records(
    addresses: Addresses, topic_prefix: str, kafka_topics: dict[str, str]
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=addresses.broker) as producer:
        for number in range(8):
            await producer.send_and_wait(kafka_topics[SLOT_ASSIGNED], b"essay", partition=number % 4)

    async def count() -> int:
        return len([record async for record in output_records(addresses.broker, topic_prefix)])

    assert await asyncio.gather(*(count() for _ in range(READERS))) == [8] * READERS
