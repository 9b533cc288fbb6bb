"""One proof: the invariants on one snapshot of the database, and on request the tables against Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import create_async_engine

from els_stream.verify.comparison import compare
from els_stream.verify.expected_events import read_snapshot
from els_stream.verify.invariants import check_invariants
from els_stream.verify.kafka_events import read_published
from els_stream.verify.offset_progress import check_progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings
    from els_stream.verify.invariants import Finding


async def verify(settings: Settings, *, kafka: bool) -> AsyncIterator[Finding]:
    """Findings as they are made. Nothing is locked and nothing written: the service goes on meanwhile."""
    # An engine of its own: the workers' sessions plan for index probes, these statements read whole tables.
    engine = create_async_engine(settings.database, isolation_level="REPEATABLE READ", pool_size=1, max_overflow=0)
    try:
        async with engine.connect() as conn:
            findings = await check_invariants(
                conn, consumer_group=settings.consumer_group, prefix=settings.topic_prefix
            )
        for finding in findings:
            yield finding
        if kafka:
            async for finding in _against_kafka(engine, settings):
                yield finding
    finally:
        await engine.dispose()


async def _against_kafka(engine: AsyncEngine, settings: Settings) -> AsyncIterator[Finding]:
    async with engine.connect() as conn:
        before = await read_snapshot(conn)
    published = await read_published(settings.broker, settings.topic_prefix)
    async with engine.connect() as conn:
        after = await read_snapshot(conn)
    for finding in compare(before, published, after):
        yield finding
    yield await check_progress(engine, settings)
