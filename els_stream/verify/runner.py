"""Run all checks of `els verify`: the invariants on a database snapshot, and optionally Kafka against the tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from els_stream.db import schema
from els_stream.db.engine import create_report_engine
from els_stream.db.snapshot import snapshot
from els_stream.queries import skipped_offsets
from els_stream.verify.comparison import compare
from els_stream.verify.expected_events import read_expected_events
from els_stream.verify.invariants import MAX_EXAMPLES, Finding, check_invariants
from els_stream.verify.kafka_events import read_published_events
from els_stream.verify.offset_progress import check_progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings


async def verify(settings: Settings, *, kafka: bool, clock_skew_ms: int = 0) -> AsyncIterator[Finding]:
    """Yield the finding of each check. Nothing is locked or written, so the service may run meanwhile.

    `clock_skew_ms`: how far the clocks that set the timestamps of Kafka's records may differ.
    """
    engine = create_report_engine(settings.database, settings.database_connect_timeout_seconds)
    try:
        async with snapshot(engine) as conn:
            await schema.require(conn)
            findings = await check_invariants(
                conn, consumer_group=settings.consumer_group, prefix=settings.topic_prefix
            )
            skipped = await skipped_offsets.read_all(conn, settings.consumer_group)
        for finding in findings:
            yield finding
        if skipped:
            meaning = "offsets that nothing could read, or that Kafka deleted before they were read"
            yield Finding("I5 skipped", meaning, len(skipped), 0, [str(one) for one in skipped[-MAX_EXAMPLES:]])
        if kafka:
            async for finding in _check_kafka(engine, settings, clock_skew_ms):
                yield finding
    finally:
        await engine.dispose()


async def _check_kafka(engine: AsyncEngine, settings: Settings, clock_skew_ms: int) -> AsyncIterator[Finding]:
    async with snapshot(engine) as conn:
        before = await read_expected_events(conn)
    published = await read_published_events(settings.broker, settings.topic_prefix)
    async with snapshot(engine) as conn:
        after = await read_expected_events(conn)
    oldest = datetime.now(UTC) - timedelta(days=settings.tombstone_retention_days)
    tombstones_since = round(oldest.timestamp() * 1000)
    for finding in compare(before, published, after, clock_skew_ms=clock_skew_ms, tombstones_since=tombstones_since):
        yield finding
    yield await check_progress(engine, settings)
