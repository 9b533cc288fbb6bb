"""Costs of a claim with ten thousand to ten million essays of other batches, which should have no influence.

At each size: with the statistics of the size before (at first of empty tables); vacuumed, with fresh ones; and bloated,
a fifth of the crowd's essays updated since. The cost is that of micro-batches of 500 contents: the consumer's
transaction and the relay's delete. Pages are what these touched of essays and trackers, and do not depend on the clock.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from statistics import median
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.db.engine import Limits, create_engine
from els_stream.events import topics
from els_stream.events.records import RawRecord
from els_stream.queries import outbox_segments
from els_stream.queries.outbox_rows import SHARD_COUNT
from tests.benchmarks.environment import BenchmarkEnvironment, for_sqlalchemy
from tests.benchmarks.report import Figure, Scale, Section
from tests.support import factories as make
from tests.support.batch_harness import handlers_by_topic
from tests.support.bulk_data import BulkData
from tests.support.micro_batches import MicroBatchRunner

SLOTS: Final = 30
ESSAYS: Final = (10_000, 1_000_000, 10_000_000)
MICRO_BATCH: Final = 500
ROUNDS: Final = 20
AT_ONCE: Final = 5000
LONG: Final = Limits(statement=900, idle_in_transaction=900)

BLOAT: Final = text("""
    UPDATE essay_states SET version = version + 1, updated_at = now()
    WHERE batch_id LIKE 'crowd-%' AND right(essay_id, 1) IN ('0', '5')
""")
PAGES: Final = text("""
    SELECT CAST(sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit) AS float8)
    FROM pg_statio_user_tables WHERE relname IN ('essay_states', 'batch_essay_trackers')
""")
FLUSH: Final = text("SELECT pg_stat_force_next_flush()")


STATES: Final = {
    "statistics stale": None,
    "vacuumed": text("VACUUM ANALYZE essay_states, batch_essay_trackers, outbox_segments"),
    "bloated": BLOAT,
}


async def measure(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Section]:
    """Measure each size; the tables grow from one to the next."""
    first: dict[str, Cost] = {}
    async with env.database() as url, _growing(url) as growing:
        for essays in ESSAYS if scale is Scale.GROWTH else ESSAYS[:2]:
            await growing.grow(essays)
            figures: list[Figure] = []
            ratios: dict[str, float] = {}
            for state, statement in STATES.items():
                if statement is not None:
                    await growing.plain.execute(statement)
                cost = await growing.cost()
                base = first.setdefault(state, cost)
                figures += [
                    Figure(f"{state}, time", 1e6 * cost.seconds, "µs/essay"),
                    Figure(f"{state}, pages", cost.pages, "pages/essay"),
                ]
                name = f"{state.replace(' ', '_')}_{essays}_vs_{ESSAYS[0]}"
                ratios |= {f"growth_{name}": cost.seconds / base.seconds, f"pages_{name}": cost.pages / base.pages}
            yield Section(f"beside {essays:,} essays", figures, ratios if essays > ESSAYS[0] else {})


@dataclass(frozen=True, slots=True)
class Cost:
    """Return the cost per essay: median of the times, mean of the pages of the micro-batches."""

    seconds: float
    pages: float


@dataclass
class Growing:
    engine: AsyncEngine
    plain: AsyncConnection
    flow: MicroBatchRunner
    batches: int = 0
    offsets: Iterator[int] = field(default_factory=count)
    names: Iterator[int] = field(default_factory=count)

    async def grow(self, essays: int) -> None:
        crowd = BulkData("crowd", essays // SLOTS, SLOTS, SLOTS, days=1)
        for first in range(self.batches + 1, crowd.batches + 1, AT_ONCE):
            async with self.engine.begin() as conn:
                await crowd.add(conn, first, min(first + AT_ONCE - 1, crowd.batches))
        self.batches = crowd.batches

    async def cost(self) -> Cost:
        crowd = BulkData(f"class-{next(self.names)}", ROUNDS * MICRO_BATCH // SLOTS + 1, SLOTS, 0)
        async with self.engine.begin() as conn:
            await crowd.add(conn)
        # Let earlier writes reach the disk, as they are not a cost of these claims.
        await self.plain.execute(text("CHECKPOINT"))
        micro_batches = [self._contents(crowd, number) for number in range(ROUNDS)]
        await self._micro_batch(micro_batches[0])
        pages = await self._pages()
        seconds = [await self._micro_batch(micro_batch) for micro_batch in micro_batches[1:]]
        pages = await self._pages() - pages
        return Cost(median(seconds) / MICRO_BATCH, pages / (ROUNDS - 1) / MICRO_BATCH)

    async def _micro_batch(self, records: Sequence[RawRecord]) -> float:
        started = time.perf_counter()
        await self.flow.micro_batch(records)
        segments, _ = await outbox_segments.fetch(self.plain, range(SHARD_COUNT), events=2000, size=2**30)
        await outbox_segments.delete(self.plain, segments)
        return time.perf_counter() - started

    async def _pages(self) -> float:
        async with self.engine.connect() as conn:  # the one that the micro-batches had
            await conn.execute(FLUSH)
        return float(await self.plain.scalar(PAGES) or 0)

    def _contents(self, crowd: BulkData, number: int) -> list[RawRecord]:
        env = range(number * MICRO_BATCH, (number + 1) * MICRO_BATCH)
        return [
            make.record(
                topics.CONTENT_PROVISIONED,
                make.content(crowd.batch_id(n // SLOTS + 1), number=n % SLOTS),
                offset=next(self.offsets),
            )
            for n in env
        ]


@asynccontextmanager
async def _growing(url: str) -> AsyncIterator[Growing]:
    """Turn autovacuum off: vacuum and statistics are part of the measured states."""
    engine = create_engine(for_sqlalchemy(url), LONG, pool_size=1)
    other = create_engine(for_sqlalchemy(url), LONG, pool_size=1, bitmaps=False)
    async with other.execution_options(isolation_level="AUTOCOMMIT").connect() as plain:
        for table in ("essay_states", "batch_essay_trackers", "outbox_segments"):
            await plain.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))
            await plain.execute(text(f"ANALYZE {table}"))
        growing = Growing(engine, plain, MicroBatchRunner(engine, handlers_by_topic()[topics.CONTENT_PROVISIONED]))
        await growing.flow.initialize()
        yield growing
    await other.dispose()
    await engine.dispose()
