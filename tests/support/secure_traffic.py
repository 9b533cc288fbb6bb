"""Batches of one essay each, sent and awaited by a client with its own login."""

from __future__ import annotations

from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED, SLOT_ASSIGNED
from els_stream.kafka.broker import Broker
from els_stream.kafka.clients import AIOKafkaProducer
from els_stream.verify.kafka_events import read_published_events
from tests.support import factories
from tests.support.waiting import until


class Traffic:
    def __init__(self, broker: Broker, prefix: str) -> None:
        self._broker = broker
        self._prefix = prefix
        self.sent = 0

    async def send(self, count: int) -> None:
        """Send the registrations and contents of further batches."""
        async with AIOKafkaProducer(bootstrap_servers=self._broker) as producer:
            for number in range(self.sent, self.sent + count):
                batch = f"batch-{number}"
                events = (
                    (BATCH_REGISTERED, factories.registration(batch, essays=1)),
                    (CONTENT_PROVISIONED, factories.content(batch, number=number)),
                )
                for topic, value in events:
                    await producer.send(self._prefix + topic, value, key=batch.encode())
            await producer.flush()
        self.sent += count

    async def assigned(self) -> int:
        """Return the number of slots that were published as assigned, each once."""
        published = await read_published_events(self._broker, self._prefix)
        assert not published.copies
        return sum(event.topic == SLOT_ASSIGNED for event in published.events.values())

    async def until_assigned(self, count: int, seconds: float = 30) -> None:
        async def all_of_them() -> bool:
            return await self.assigned() == count

        await until(all_of_them, seconds=seconds, every=0.2)
