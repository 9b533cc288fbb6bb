"""Compares the relay on a full outbox with a producer that sends the same records from memory.

Both send with acks=all and idempotence, in batches of the same size, in this process's loop; ours also reads the rows
and deletes what was acked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from statistics import fmean
from typing import Final

from aiokafka import AIOKafkaProducer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.settings import Settings
from els_stream.db.engine import Limits, create_engine
from els_stream.embedded.processes import wait_until
from els_stream.events.headers import decode_headers
from els_stream.events.topics import CONTENT_PROVISIONED
from els_stream.handlers.handler import process
from els_stream.handlers.registry import HandlerPolicy, make_handlers
from els_stream.queries import outbox_segments
from els_stream.queries.outbox_rows import SHARD_COUNT
from els_stream.relay.factory import create_relay_engine, make_relay
from els_stream.relay.options import RelayOptions
from tests.benchmarks import runs
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.load import Load
from tests.benchmarks.report import Figure, Scale, Section, paired_ratio
from tests.support import factories as make

LOAD: Final = {Scale.QUICK: Load(500), Scale.FULL: Load(2000)}
ROUNDS: Final = {Scale.QUICK: 1, Scale.FULL: 3}
AT_ONCE: Final = 1000
RATE: Final = "records/s"

KEEP: Final = text("CREATE TABLE kept AS TABLE outbox_segments")
EMPTY: Final = text("TRUNCATE outbox_segments, event_outbox")
FILL: Final = text("INSERT INTO outbox_segments OVERRIDING SYSTEM VALUE TABLE kept")

Sent = tuple[str, bytes, bytes, list[tuple[str, bytes]]]


async def measure(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Section]:
    load = LOAD[scale]
    ours: list[float] = []
    theirs: list[float] = []
    async with env.worker_settings() as settings:
        engine = create_engine(settings.database, Limits.from_settings(settings), pool_size=settings.pool_size)
        await runs.register(settings, load)
        await _fill_outbox(engine, settings, load)
        rows = await _keep(engine, settings.topic_prefix)
        await _producer_alone(settings, rows)  # the broker has made these topics a moment ago
        for _ in range(ROUNDS[scale]):
            theirs.append(await _producer_alone(settings, rows))
            ours.append(await _relay(engine, settings, len(rows)))
        await engine.dispose()
    size = fmean(len(value) for _, _, value, _ in rows)
    yield Section(
        f"Relay, {len(rows):,} records of {size:.0f} bytes",
        [
            Figure("a producer that sends from memory", max(theirs), RATE),
            Figure("the relay, from a full outbox", max(ours), RATE),
        ],
        {"relay_vs_producer_alone": paired_ratio(ours, theirs)},
    )


async def _fill_outbox(engine: AsyncEngine, settings: Settings, load: Load) -> None:
    """Fill the outbox as the service does, without a relay that empties it."""
    handler = make_handlers(HandlerPolicy.from_settings(settings))["assign_content"]
    records = [
        make.record(CONTENT_PROVISIONED, value, offset=number, key=key)
        for number, (key, value) in enumerate(load.sent())
    ]
    for start in range(0, len(records), AT_ONCE):
        async with engine.begin() as conn:
            await process(handler, conn, records[start : start + AT_ONCE])


async def _keep(engine: AsyncEngine, prefix: str) -> list[Sent]:
    """Copy the outbox to refill it, empty it, and return its events as arguments of a producer."""
    async with engine.begin() as conn:
        await conn.execute(KEEP)
        events = [row for stored in await outbox_segments.read_all(conn) for row in stored.segment.rows]
        await conn.execute(EMPTY)
    return [
        (prefix + event.topic, event.key or b"", event.value or b"", list(decode_headers(event.headers)))
        for event in events
    ]


async def _producer_alone(settings: Settings, rows: Sequence[Sent]) -> float:
    """Measure a producer with our batch size: with its small default it would be much slower."""
    producer = AIOKafkaProducer(
        bootstrap_servers=str(settings.broker),
        acks="all",
        enable_idempotence=True,
        max_batch_size=RelayOptions.from_settings(settings).batch_bytes,
        max_request_size=RelayOptions.from_settings(settings).request_bytes,
    )
    async with producer:
        for topic in {topic for topic, *_ in rows}:
            await producer.partitions_for(topic)
        started = time.monotonic()
        acks = [await producer.send(topic, value, key, headers=headers) for topic, key, value, headers in rows]
        await asyncio.gather(*acks)
        return len(rows) / (time.monotonic() - started)


async def _relay(engine: AsyncEngine, settings: Settings, count: int) -> float:
    """Measure a running relay from the commit that fills the outbox to the last ack."""
    relay_engine = create_relay_engine(settings)
    relay = make_relay(settings, relay_engine)
    await relay.start()
    try:
        await _until(lambda: relay.status().shards == SHARD_COUNT)
        async with engine.begin() as conn:
            await conn.execute(FILL)
        started = time.monotonic()
        relay.wake()
        await _until(lambda: relay.status().acked >= count)
        return count / (time.monotonic() - started)
    finally:
        await relay.stop()
        await relay_engine.dispose()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(runs.MAX_WAIT_SECONDS):
        await wait_until(condition)
