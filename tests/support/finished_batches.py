"""Completed batches of any age, and all rows of a database."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.verify.invariants import check_invariants
from tables import metadata
from tests.support.batch_harness import BatchHarness


async def find_violations(engine: AsyncEngine) -> list[object]:
    """Return the violations that `els verify` finds; an empty outbox means that everything was sent."""
    async with engine.connect() as conn:
        findings = await check_invariants(conn, consumer_group="unused", prefix="")
    return [finding.examples for finding in findings if finding.violated]


async def add_completed_batch(harness: BatchHarness, batch_id: str, *, class_id: str | None = None) -> None:
    """Add a completed batch: two essays, an excess content, a late failure, a dead letter; empty the outbox."""
    await harness.together(harness.registration(batch_id, essays=2, class_id=class_id))
    await harness.together(*harness.contents([0, 1, 2], batch_id))
    await harness.together(harness.content(3, batch_id, file_upload_id=f"upload-{batch_id}-00000"))
    await harness.together(harness.failure(9, batch_id))
    if class_id is not None:
        await harness.together(harness.associations(2, batch_id, class_id=class_id))
    await harness.empty_outbox()


async def make_older(harness: BatchHarness, batch_id: str, days: int) -> None:
    await harness.execute(
        """
        UPDATE batch_essay_trackers SET completed_at = completed_at - make_interval(days => :days)
        WHERE batch_id = :b
        """,
        days=days,
        b=batch_id,
    )


async def add_old_batches(harness: BatchHarness, count: int, name: str = "guests") -> list[str]:
    """Add completed batches of one essay each, the oldest first; empty the outbox."""
    batch_ids = [f"{name}-{number}" for number in range(count)]
    for number, batch_id in enumerate(batch_ids):
        await harness.together(harness.registration(batch_id, essays=1))
        await harness.together(harness.content(0, batch_id))
        await make_older(harness, batch_id, 100 - number)
    await harness.empty_outbox()
    return batch_ids


async def all_rows(harness: BatchHarness) -> dict[str, list[str]]:
    """Return every row of every table, as text."""
    async with harness.engine.connect() as conn:
        return {
            table.name: sorted([str(row) for row in await conn.execute(table.select())])
            for table in metadata.sorted_tables
        }
