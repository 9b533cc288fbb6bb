"""A purge of a million essays during 1 000 contents a second, and queries of the dashboard on as many batches.

`python -m tests.benchmarks.purging` prints the figures and exits with 1 if a limit is exceeded: the p99 of the claims
at most twice that without the purge, the stats and the list of batches under 50 ms with a million batches, `els verify`
of a million essays under 30 s. It takes some minutes, mostly to fill the tables.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from statistics import median
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.config.settings import Settings
from els_stream.db.engine import Limits, create_engine
from els_stream.domain.purge_results import Purged
from els_stream.maintenance.purge import PurgePlan, purge_guests
from els_stream.queries import batch_counts, listing, stats
from els_stream.queries.listing import BatchFilter
from els_stream.verify.runner import verify
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.report import Figure, Scale, Section, percentile
from tests.benchmarks.steady import Steady, keep_empty
from tests.benchmarks.thresholds import run_with_thresholds
from tests.support.bulk_data import BulkData

SLOTS: Final = 30
OLD: Final = {Scale.QUICK: 2000, Scale.FULL: 33_334}
NEW: Final = {Scale.QUICK: 2000, Scale.FULL: 9000}  # for contents of 4 minutes and more
MANY: Final = {Scale.QUICK: 50_000, Scale.FULL: 1_000_000}
QUIET_SECONDS: Final = {Scale.QUICK: 10, Scale.FULL: 30}
AT_ONCE: Final = 2000
DAYS: Final = 14
REPEATS: Final = 20
LIMITS: Final = {"claims, p99 with the purge / without": 2.0, "gauges": 50.0, "a page of batches": 50.0, "proof": 30.0}

SIZES: Final = text("""
    SELECT relname, pg_total_relation_size(relid) / 1048576.0 AS mib, n_dead_tup
    FROM pg_stat_user_tables
    WHERE relname IN ('essay_states', 'batch_essay_trackers', 'outbox_segments') ORDER BY relname
""")


async def measure(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Section]:
    scale = Scale.QUICK if scale is Scale.QUICK else Scale.FULL
    async with env.worker_settings() as settings, _engine(settings) as engine:
        await _fill(engine, BulkData("old", OLD[scale], SLOTS, SLOTS, days=2 * DAYS))
        yield await _proof(settings, OLD[scale] * SLOTS)
        before = await _sizes(engine, "before")
        yield Section("the claims beside a purge, 1,000 contents a second", await _during_purge(engine, scale))
        yield Section("tables around the purge", [*before, *await _sizes(engine, "after")])
        await _fill(engine, BulkData("done", MANY[scale], 1, 1), slots=False)
        async with engine.begin() as conn:
            await batch_counts.compact(conn)  # as a worker does every minute
        yield await _query_times(engine, f"{MANY[scale]:,} batches, as they came")
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
            await conn.execute(text("VACUUM ANALYZE batch_essay_trackers"))
        yield await _query_times(engine, f"{MANY[scale]:,} batches, vacuumed")


def complaints(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        for figure in section.figures:
            limit = LIMITS.get(figure.name)
            if limit is not None and figure.value > limit:
                yield f"{section.title}: {figure.name} is {figure.value:.2f}, above {limit:g} {figure.unit}"


async def _during_purge(engine: AsyncEngine, scale: Scale) -> list[Figure]:
    steady = Steady(engine, BulkData("new", NEW[scale], SLOTS, 0))
    await _fill(engine, steady.crowd)
    await steady.flow.initialize()
    relay = asyncio.create_task(keep_empty(engine))
    await steady.latencies(_for_seconds(3))
    quiet = await steady.latencies(_for_seconds(QUIET_SECONDS[scale]))
    started = time.monotonic()
    plan = PurgePlan(DAYS)
    purge = asyncio.create_task(purge_guests(engine, plan, stop=asyncio.Event(), progress=lambda _: None))
    busy = await steady.latencies(lambda: not purge.done())
    seconds = time.monotonic() - started
    relay.cancel()
    with suppress(asyncio.CancelledError):
        await relay
    result = await purge
    if not isinstance(result, Purged):
        raise TypeError("another purge runs on a database of our own")
    removed = result.removed
    return [
        Figure("claims, p99 without", 1000 * percentile(quiet, 0.99), "ms"),
        Figure("claims, p99 with the purge", 1000 * percentile(busy, 0.99), "ms"),
        Figure("claims, p99 with the purge / without", percentile(busy, 0.99) / percentile(quiet, 0.99), "times"),
        Figure("essays purged", removed.essay_states, "rows"),
        Figure("essays purged per second", removed.essay_states / seconds, "rows/s"),
        Figure("contents meanwhile", len(busy) / seconds, "/s"),
    ]


async def _proof(settings: Settings, essays: int) -> Section:
    started = time.monotonic()
    violated = sum([finding.violated async for finding in verify(settings, kafka=False)])
    seconds = time.monotonic() - started
    return Section(f"els verify, {essays:,} essays", [Figure("proof", seconds, "s"), Figure("violated", violated, "")])


async def _query_times(engine: AsyncEngine, title: str) -> Section:
    figures = [
        Figure("gauges", await _milliseconds(engine, stats.read_stats), "ms"),
        Figure("a page of batches", await _milliseconds(engine, _page), "ms"),
    ]
    return Section(title, figures)


async def _page(conn: AsyncConnection) -> object:
    return await listing.newest_batches(conn, BatchFilter(), 50)


async def _milliseconds(engine: AsyncEngine, query: Callable[[AsyncConnection], Awaitable[object]]) -> float:
    taken = []
    for _ in range(REPEATS):
        async with engine.connect() as conn:
            started = time.perf_counter()
            await query(conn)
            taken.append(time.perf_counter() - started)
    return 1000 * median(taken)


async def _fill(engine: AsyncEngine, crowd: BulkData, *, slots: bool = True) -> None:
    add = crowd.add if slots else crowd.add_trackers
    for first in range(1, crowd.batches + 1, AT_ONCE):
        async with engine.begin() as conn:
            await add(conn, first, min(first + AT_ONCE - 1, crowd.batches))


async def _sizes(engine: AsyncEngine, when: str) -> list[Figure]:
    async with engine.connect() as conn:
        rows = (await conn.execute(SIZES)).all()
    sizes = [Figure(f"{row.relname}, {when}", float(row.mib), "MiB") for row in rows]
    return sizes + [Figure(f"{row.relname}, dead, {when}", row.n_dead_tup, "rows") for row in rows]


def _for_seconds(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end


@asynccontextmanager
async def _engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(settings.database, Limits(statement=60), pool_size=6)
    yield engine
    await engine.dispose()


if __name__ == "__main__":
    sys.exit(run_with_thresholds(measure, Scale.QUICK if "--quick" in sys.argv[1:] else Scale.FULL, complaints))
