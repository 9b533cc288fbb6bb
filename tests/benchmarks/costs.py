"""Costs per essay that do not depend on time: statements, round trips, commits, bytes of WAL, dead tuples.

The intake's own transactions, 500 and 1 000 contents in each, on batches of 30 that fill 40 at a time; and the relay's
look-ups and deletes. Round trips are counted on the wire. WAL is counted without the images of pages that follow a
checkpoint, whose number is chance; `images of pages` says what they added here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.db.engine import Limits, create_engine
from els_stream.events import topics
from els_stream.events.records import RawRecord
from els_stream.queries import outbox_segments
from els_stream.queries.outbox_rows import SHARD_COUNT
from tests.benchmarks.environment import BenchmarkEnvironment, for_sqlalchemy
from tests.benchmarks.load import Load
from tests.benchmarks.report import Figure, Scale, Section
from tests.support import factories as make
from tests.support.batch_harness import handlers_by_topic
from tests.support.micro_batches import MicroBatchRunner, chunks
from tests.support.protocol_recorder import ProtocolRecorder, recorded

SIZES: Final = (500, 1000)
BATCHES: Final = {Scale.QUICK: 200, Scale.FULL: 1000}
FETCHED: Final = 2000

WAL: Final = text("""
    SELECT sum(record_size), sum(fpi_size) FROM pg_get_wal_stats(:since, pg_current_wal_flush_lsn())
""")
DEAD: Final = text("SELECT sum(n_tup_upd - n_tup_hot_upd + n_tup_del), sum(n_tup_hot_upd) FROM pg_stat_user_tables")
NOW: Final = text("SELECT pg_current_wal_flush_lsn()")


async def measure(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Section]:
    for size in SIZES:
        async with env.database() as url, recorded(url) as wire:
            engine = create_engine(for_sqlalchemy(wire.url), Limits(), pool_size=1)
            outside = create_engine(for_sqlalchemy(url), Limits(), pool_size=1)
            async with outside.connect() as conn:
                await conn.execute(text("CREATE EXTENSION pg_walinspect"))
                await conn.commit()
                figures = await _costs(engine, conn, wire, Load(BATCHES[scale]), size)
            await outside.dispose()
            await engine.dispose()
        yield Section(f"an essay's costs, {size} contents in a micro-batch", figures)


async def _costs(
    engine: AsyncEngine, conn: AsyncConnection, wire: ProtocolRecorder, load: Load, size: int
) -> list[Figure]:
    flow = await _registered(engine, load)
    records = [
        make.record(topics.CONTENT_PROVISIONED, value, offset=offset, key=key)
        for offset, (key, value) in enumerate(load.sent())
    ]
    warm_up = chunks(records[:size], size)
    await _flow(flow, engine, list(warm_up))
    rest = list(chunks(records[size:], size))
    await _until_counted(engine)
    since = await conn.scalar(NOW)
    before = (await conn.execute(DEAD)).one()
    await conn.rollback()
    wire.messages.clear()
    await _flow(flow, engine, rest)
    trips, statements = wire.round_trips, wire.statements
    await _until_counted(engine)
    written, images = (await conn.execute(WAL, {"since": since})).one()
    dead, hot = (after - was for after, was in zip((await conn.execute(DEAD)).one(), before, strict=True))
    essays = sum(map(len, rest))
    return [
        Figure("statements", statements / essays, "/essay"),
        Figure("round trips", trips / essays, "/essay"),
        Figure("commits", len(rest) / essays, "/essay"),
        Figure("WAL", float(written) / essays, "bytes/essay"),
        Figure("images of pages", float(images) / essays, "bytes/essay"),
        Figure("dead tuples", float(dead) / essays, "/essay"),
        Figure("heap-only updates", float(hot) / essays, "/essay"),
    ]


async def _registered(engine: AsyncEngine, load: Load) -> MicroBatchRunner:
    handlers = handlers_by_topic()
    registering = MicroBatchRunner(engine, handlers[topics.BATCH_REGISTERED])
    await registering.initialize()
    await registering.run(list(load.registrations()), 100)
    flow = MicroBatchRunner(engine, handlers[topics.CONTENT_PROVISIONED])
    await flow.initialize()
    return flow


async def _flow(flow: MicroBatchRunner, engine: AsyncEngine, micro_batches: Sequence[Sequence[RawRecord]]) -> None:
    """Let the relay begin when the outbox has as many rows as it may fetch."""
    waiting = 0
    plain = engine.execution_options(isolation_level="AUTOCOMMIT")
    for micro_batch in micro_batches:
        await flow.micro_batch(micro_batch)
        waiting += len(micro_batch)
        if waiting >= FETCHED or micro_batch is micro_batches[-1]:
            async with plain.connect() as conn:
                segments, _ = await outbox_segments.fetch(conn, range(SHARD_COUNT), events=2 * FETCHED, size=2**30)
                await outbox_segments.delete(conn, segments)
            waiting = 0


async def _until_counted(engine: AsyncEngine) -> None:
    """Flush the session's statistics, so that other sessions see them."""
    async with engine.connect() as conn:
        await conn.execute(text("SELECT pg_stat_force_next_flush()"))
        await conn.commit()
