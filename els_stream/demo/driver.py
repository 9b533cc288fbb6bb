"""The traffic sent, and watched until the workers have handled all of it and told all that came of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaProducer
from sqlalchemy.ext.asyncio import create_async_engine

from els_stream.embedded.processes import undisturbed
from els_stream.events import topics
from els_stream.events.topics import INPUT_TOPICS
from els_stream.kafka.offsets import Partition
from els_stream.queries import consumed_offsets
from els_stream.queries.stats import read_stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings
    from els_stream.demo.expectations import Traffic
    from els_stream.demo.observations import Observations
    from els_stream.demo.output_consumer import OutputConsumer
    from els_stream.demo.workers import DemoWorker

PATIENCE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.1
# Sent together, then acknowledged: small enough for batches, topics and workers to overlap.
HANDFUL: Final = 50


@dataclass(slots=True)
class Counts:
    """How far it is: records sent and handled, events waiting in the outbox, different events that came out."""

    sent: int = 0
    handled: int = 0
    waiting: int = 0
    told: int = 0


Show = Callable[[Counts], None]
Check = Callable[[], None]


@dataclass(slots=True)
class Driver:
    settings: Settings
    traffic: Traffic
    transcript: Observations
    counts: Counts

    async def run(self, audience: OutputConsumer, workers: Sequence[DemoWorker], show: Show) -> bool:
        """Whether all was handled and told; False once nothing has moved for a minute."""
        engine = create_async_engine(self.settings.database, pool_size=1)
        try:
            async with _beside(self._send()) as sending, _beside(audience.listen()) as listening:
                done = await self._watch(engine, (*(w.check for w in workers), sending, listening), show)
            await audience.hear_out()
        finally:
            await undisturbed(engine.dispose())
        return done

    async def _send(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.broker.split(","), enable_idempotence=True)
        await producer.start()
        try:
            messages = self.traffic.messages
            for start in range(0, len(messages), HANDFUL):
                handful = messages[start : start + HANDFUL]
                acks = [
                    await producer.send(self.settings.topic_prefix + message.topic, message.value, message.key)
                    for message in handful
                ]
                await asyncio.gather(*acks)
                self.counts.sent += len(handful)
        finally:
            await undisturbed(producer.stop())

    async def _watch(self, engine: AsyncEngine, checks: Sequence[Check], show: Show) -> bool:
        moved, before = time.monotonic(), Counts()
        while time.monotonic() - moved < PATIENCE_SECONDS:
            for check in checks:
                check()
            await self._look(engine)
            show(self.counts)
            if self._all_told():
                return True
            if self.counts != before:
                moved, before = time.monotonic(), replace(self.counts)
            await asyncio.sleep(LOOK_SECONDS)
        return False

    def _all_told(self) -> bool:
        """Deadlines pass after all was handled, and their events are the last."""
        timeouts = self.transcript.counts[topics.READINESS_TIMEOUT]
        return (
            self.counts.handled == len(self.traffic.messages)
            and not self.counts.waiting
            and timeouts >= self.traffic.told(topics.READINESS_TIMEOUT).low
        )

    async def _look(self, engine: AsyncEngine) -> None:
        """The ledger first: what it says is handled has its events in the outbox by then, or sent."""
        partitions = [
            Partition(self.settings.topic_prefix + topic, number)
            for topic in INPUT_TOPICS
            for number in range(self.settings.topic_partitions)
        ]
        async with engine.connect() as conn:
            rows = await consumed_offsets.read(conn, self.settings.consumer_group, partitions)
            self.counts.handled = sum(row.next_offset for row in rows.values())
            self.counts.waiting = (await read_stats(conn)).outbox_rows
        self.counts.told = len(self.transcript.first)


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[Check]:
    """The work goes on while the block runs; what is yielded raises its error, if it had one."""
    task = asyncio.create_task(work)

    def check() -> None:
        if task.done():
            task.result()

    try:
        yield check
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
