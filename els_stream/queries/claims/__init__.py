"""The claim: contents and failures take free slots of any number of batches, by one of three strategies.

The caller has locked the tracker rows, has read which uploads hold slots, and knows the number of free slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.domain.claim_strategy import SlotTable, Strategy
from els_stream.errors import InventoryMismatch
from els_stream.queries.claims import option_a, option_b, two_step
from els_stream.queries.claims.slot_claim import SlotClaim

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["SlotClaim", "claim", "lock_contents"]

_BY_STRATEGY = {
    Strategy.OPTION_A: option_a.claim,
    Strategy.OPTION_B: option_b.claim,
    Strategy.TWO_STEP: two_step.claim,
}

# Sorted: otherwise two transactions over the same contents could deadlock.
_LOCK_CONTENTS = text("""
    SELECT count(pg_advisory_xact_lock(k.key)) FROM (
        SELECT DISTINCT hashtextextended(i.text_id, hashtextextended(i.batch_id, 0)) AS key
        FROM unnest(CAST(:batch_ids AS text[]), CAST(:text_ids AS text[])) AS i (batch_id, text_id)
        ORDER BY key
    ) k
""")


async def claim(conn: AsyncConnection, claims: Sequence[SlotClaim], now: datetime, strategy: Strategy) -> None:
    """Give each slot the essay id of a free row, and write its holder into that row.

    A batch keeps the slot table of its registration, so `strategy` applies only if it works on that table. Waits for
    rows that foreign code has locked, up to lock_timeout. Raises InventoryMismatch if fewer rows are free than the
    counters say.
    """
    for slot_table in SlotTable:
        of_table = [one for one in claims if one.batch.slot_table is slot_table]
        if of_table:
            await _claim(conn, of_table, now, strategy_for(slot_table, strategy))


def strategy_for(slot_table: SlotTable, configured: Strategy) -> Strategy:
    """Return the configured strategy if it works on this slot table, else the single-statement one that does."""
    if slot_table is SlotTable.ESSAY_STATES:
        return Strategy.OPTION_B
    return Strategy.OPTION_A if configured is Strategy.OPTION_B else configured


async def _claim(conn: AsyncConnection, claims: Sequence[SlotClaim], now: datetime, strategy: Strategy) -> None:
    run = _BY_STRATEGY[strategy]
    missing = await run(conn, claims, now, waiting=False)
    if missing:
        missing = await run(conn, missing, now, waiting=True)
    if missing:
        batch_ids = {one.batch.batch_id for one in missing}
        msg = f"{len(missing)} slots are free by the counters and not by the rows, of batches {sorted(batch_ids)[:5]}"
        raise InventoryMismatch(msg, batch_ids)


async def lock_contents(conn: AsyncConnection, contents: Collection[tuple[str, str]]) -> None:
    """Take a transaction-level advisory lock on each (batch id, text id), so that repeats of a content queue up early.

    Must be the first lock of a transaction, before any tracker row.
    """
    await conn.execute(
        _LOCK_CONTENTS, {"batch_ids": [b for b, _ in contents], "text_ids": [text_id for _, text_id in contents]}
    )
