"""A batch of ten thousand slots: its last thousand contents cost as much as its first, under each strategy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.events.records import RawRecord
from tests.support.batch_harness import BatchHarness

HOT_BATCH = 10_000
MICRO_BATCH = 1_000

# Exact counts of this session; those of its earlier transactions may still be included, so differences are taken.
_ROWS = text("""
    SELECT CAST(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) AS bigint) AS read,
           CAST(sum(n_tup_ins + n_tup_upd + n_tup_del) AS bigint) AS written
    FROM pg_stat_xact_user_tables
""")


@dataclass
class Cost:
    """Statements and rows of one micro-batch."""

    labels: list[str]
    statements: int
    read: int
    written: int


@contextmanager
def recorded(conn: AsyncConnection) -> Iterator[list[str]]:
    seen: list[str] = []

    def record(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(conn.sync_connection, "before_cursor_execute", record)
    try:
        yield seen
    finally:
        event.remove(conn.sync_connection, "before_cursor_execute", record)


async def cost_of(harness: BatchHarness, records: list[RawRecord]) -> Cost:
    async with harness.engine.begin() as conn:
        before = (await conn.execute(_ROWS)).one()
        with recorded(conn) as statements:
            labels = [outcome.label for outcome in await harness.apply(conn, records)]
        after = (await conn.execute(_ROWS)).one()
    return Cost(labels, len(statements), after.read - before.read, after.written - before.written)


async def test_a_hot_batch_costs_the_same_from_its_first_to_its_last_slot(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=HOT_BATCH))
    starts = range(0, HOT_BATCH + MICRO_BATCH, MICRO_BATCH)
    costs = [await cost_of(harness, harness.contents(range(start, start + MICRO_BATCH))) for start in starts]

    assert [label for cost in costs for label in cost.labels] == ["assigned"] * HOT_BATCH + ["excess"] * MICRO_BATCH
    assert await harness.counts() == ("completed", 0, HOT_BATCH, 0, 0)
    completed = (await harness.outbox_events())[HOT_BATCH]
    assert completed.kind == "completed"
    assert completed.data["provisioned_count"] == len(completed.data["essays_for_processing"]) == HOT_BATCH

    *filling, last, beyond = costs
    usual = filling[1]
    assert {cost.statements for cost in filling[1:]} == {usual.statements}
    for cost in filling:
        assert cost.read <= 1.1 * usual.read <= 4.4 * MICRO_BATCH
        assert cost.written <= 1.1 * usual.written <= 4.4 * MICRO_BATCH
    assert (last.statements, last.written) <= (usual.statements + 1, usual.written + 10)
    assert last.read <= usual.read + HOT_BATCH + 10  # the list of the completion event
    assert max(beyond.read, beyond.written) <= usual.read
