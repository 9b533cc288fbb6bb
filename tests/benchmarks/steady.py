"""Applies contents at a steady rate in micro-batches, whatever else the database does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.events import topics
from els_stream.events.records import RawRecord
from els_stream.queries import outbox_segments
from els_stream.queries.outbox import CHANNEL
from els_stream.queries.outbox_rows import SHARD_COUNT
from els_stream.relay.dedicated_connection import dedicated_connection
from tests.support import factories as make
from tests.support.batch_harness import handlers_by_topic
from tests.support.bulk_data import BulkData
from tests.support.micro_batches import MicroBatchRunner

MOST_TOGETHER: Final = 1000
TICK_SECONDS: Final = 0.002


@dataclass
class Steady:
    """Fills the free slots of bulk data with `rate` contents per second, timed from the due time to the commit."""

    engine: AsyncEngine
    crowd: BulkData
    rate: int = 1000
    sent: int = 0
    flow: MicroBatchRunner = field(init=False)

    def __post_init__(self) -> None:
        self.flow = MicroBatchRunner(self.engine, handlers_by_topic()[topics.CONTENT_PROVISIONED])

    async def latencies(self, going: Callable[[], bool]) -> list[float]:
        """Run until `going` is false; contents that are due then are not measured."""
        began, first = time.perf_counter(), self.sent
        taken: list[float] = []
        while going():
            due = min(int((time.perf_counter() - began) * self.rate) - len(taken), MOST_TOGETHER)
            if due <= 0:
                await asyncio.sleep(TICK_SECONDS)
                continue
            await self.flow.micro_batch([self._content(first + len(taken) + n) for n in range(due)])
            now = time.perf_counter() - began
            taken += [now - (len(taken) + n) / self.rate for n in range(due)]
            self.sent = first + len(taken)
        return taken

    def _content(self, number: int) -> RawRecord:
        batch_id = self.crowd.batch_id(number // self.crowd.slots + 1)
        value = make.content(batch_id, number=number % self.crowd.slots)
        return make.record(topics.CONTENT_PROVISIONED, value, offset=number, key=batch_id.encode())


async def keep_empty(engine: AsyncEngine) -> None:
    """Empty the outbox after each commit, as a relay would, until cancelled."""
    woken = asyncio.Event()
    async with dedicated_connection(engine) as listener:
        await listener.add_listener(CHANNEL, lambda *_: woken.set())
        while True:
            woken.clear()
            async with engine.connect() as conn:
                segments, _ = await outbox_segments.fetch(conn, range(SHARD_COUNT), events=2000, size=2**30)
                if segments:
                    await outbox_segments.delete(conn, segments)
                    await conn.commit()
                    woken.set()
            await woken.wait()
