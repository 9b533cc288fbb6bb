"""Batches whose time is over, and what a database holds, row by row."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.verify.invariants import check_invariants
from tables import metadata
from tests.support.batch_harness import BatchHarness


async def found_wrong(engine: AsyncEngine) -> list[object]:
    """By the checks of the service, which know that a relay has sent everything."""
    async with engine.connect() as conn:
        findings = await check_invariants(conn, consumer_group="nobody", prefix="")
    return [finding.shown for finding in findings if finding.violated]


async def complete(harness: BatchHarness, batch_id: str, *, class_id: str | None = None) -> None:
    """Two essays, one surplus, one failure that came too late, one dead letter; all told."""
    await harness.together(harness.registration(batch_id, essays=2, class_id=class_id))
    await harness.together(*harness.contents([0, 1, 2], batch_id))
    await harness.together(harness.content(3, batch_id, file_upload_id=f"upload-{batch_id}-00000"))
    await harness.together(harness.failure(9, batch_id))
    if class_id is not None:
        await harness.together(harness.associations(2, batch_id, class_id=class_id))
    await harness.execute("DELETE FROM event_outbox")


async def age(harness: BatchHarness, batch_id: str, days: int) -> None:
    await harness.execute(
        """
        UPDATE batch_essay_trackers SET completed_at = completed_at - make_interval(days => :days)
        WHERE batch_id = :b
        """,
        days=days,
        b=batch_id,
    )


async def old_batches(harness: BatchHarness, count: int, name: str = "guests") -> list[str]:
    """The first is the oldest; each of one essay, told of."""
    batch_ids = [f"{name}-{number}" for number in range(count)]
    for number, batch_id in enumerate(batch_ids):
        await harness.together(harness.registration(batch_id, essays=1))
        await harness.together(harness.content(0, batch_id))
        await age(harness, batch_id, 100 - number)
    await harness.execute("DELETE FROM event_outbox")
    return batch_ids


async def everything(harness: BatchHarness) -> dict[str, list[str]]:
    """Every row of every table."""
    async with harness.engine.connect() as conn:
        return {
            table.name: sorted([str(row) for row in await conn.execute(table.select())])
            for table in metadata.sorted_tables
        }
