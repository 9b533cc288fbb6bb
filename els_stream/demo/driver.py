"""Sends the traffic and waits until the workers have handled all records and published all events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from els_stream.db.engine import create_report_engine
from els_stream.embedded.processes import shielded
from els_stream.events import topics
from els_stream.events.topics import INPUT_TOPICS
from els_stream.kafka.clients import AIOKafkaProducer
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

MAX_IDLE_SECONDS: Final = 60.0
POLL_INTERVAL_SECONDS: Final = 0.1
# Records sent before waiting for acknowledgements: few enough for batches, topics and workers to overlap.
SEND_BATCH: Final = 50


@dataclass(slots=True)
class Counts:
    """Progress: records sent and handled, events waiting in the outbox, different events published."""

    sent: int = 0
    handled: int = 0
    waiting: int = 0
    published: int = 0


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sums of several counts."""
    each = list(counts)
    return Counts(
        sum(one.sent for one in each),
        sum(one.handled for one in each),
        sum(one.waiting for one in each),
        sum(one.published for one in each),
    )


ShowProgress = Callable[[Counts], None]
Check = Callable[[], None]


@dataclass(slots=True)
class Driver:
    """Sends `traffic` to the input topics of `settings`, and updates `counts` while the workers process it."""

    settings: Settings
    traffic: Traffic
    observations: Observations
    counts: Counts

    async def run(self, outputs: OutputConsumer, workers: Sequence[DemoWorker], show: ShowProgress) -> bool:
        """Return whether everything was handled and published; False after MAX_IDLE_SECONDS without progress."""
        engine = create_report_engine(lambda: self.settings.database)
        try:
            async with _in_background(self._send()) as sending, _in_background(outputs.run()) as listening:
                done = await self._watch(engine, (*(w.check for w in workers), sending, listening), show)
            await outputs.drain()
        finally:
            await shielded(engine.dispose())
        return done

    async def _send(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.broker, enable_idempotence=True)
        await producer.start()
        try:
            messages = self.traffic.messages
            for start in range(0, len(messages), SEND_BATCH):
                sent = messages[start : start + SEND_BATCH]
                acks = [
                    await producer.send(self.settings.topic_prefix + message.topic, message.value, message.key)
                    for message in sent
                ]
                await asyncio.gather(*acks)
                self.counts.sent += len(sent)
        finally:
            await shielded(producer.stop())

    async def _watch(self, engine: AsyncEngine, checks: Sequence[Check], show: ShowProgress) -> bool:
        moved, before = time.monotonic(), Counts()
        while time.monotonic() - moved < MAX_IDLE_SECONDS:
            for check in checks:
                check()
            await self._refresh(engine)
            show(self.counts)
            if self._finished():
                return True
            if self.counts != before:
                moved, before = time.monotonic(), replace(self.counts)
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        return False

    def _finished(self) -> bool:
        """Return whether nothing is left to happen; the timeouts come last, when deadlines have passed."""
        timeouts = self.observations.counts[topics.READINESS_TIMEOUT]
        return (
            self.counts.handled == len(self.traffic.messages)
            and not self.counts.waiting
            and timeouts >= self.traffic.events(topics.READINESS_TIMEOUT).low
        )

    async def _refresh(self, engine: AsyncEngine) -> None:
        """Read the counts. Offsets are read first: the events of handled records are in the outbox by then, or sent."""
        partitions = [
            Partition(self.settings.topic_prefix + topic, number)
            for topic in INPUT_TOPICS
            for number in range(self.settings.topic_partitions)
        ]
        async with engine.connect() as conn:
            rows = await consumed_offsets.read(conn, self.settings.consumer_group, partitions)
            self.counts.handled = sum(row.next_offset for row in rows.values())
            self.counts.waiting = (await read_stats(conn)).outbox_rows
        self.counts.published = len(self.observations.first)


@contextlib.asynccontextmanager
async def _in_background(work: Coroutine[None, None, None]) -> AsyncIterator[Check]:
    """Run the work during the block. The yielded function raises the error of the work, if it had one."""
    task = asyncio.create_task(work)

    def check() -> None:
        if task.done():
            task.result()

    try:
        yield check
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
