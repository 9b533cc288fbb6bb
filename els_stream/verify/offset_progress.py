"""The ledger against the input topics: inside the log, and moving to its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.events.topics import INPUT_TOPICS
from els_stream.kafka.log_offsets import lag, read_logs
from els_stream.kafka.offsets import Partition
from els_stream.verify.invariants import SHOWN_PER_CHECK, Finding

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings
    from els_stream.kafka.log_offsets import PartitionLog

# A partition that stands still for longer than that, with records before it, is not being worked on.
PATIENCE_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.25

_LEDGER = text("SELECT topic, partition, next_offset FROM consumed_offsets WHERE consumer_group = :consumer_group")


async def check_progress(engine: AsyncEngine, settings: Settings) -> Finding:
    """What lies in the input topics now is handled, or goes on being handled; `checked` counts partitions."""
    before = await read_ledger(engine, settings.consumer_group)
    logs = await read_logs(settings.broker, [settings.topic_prefix + topic for topic in INPUT_TOPICS])
    first = await read_ledger(engine, settings.consumer_group)
    behind = {tp: log for tp, log in logs.items() if first.get(tp, log.beginning) < log.end}
    # A partition may stand before markers of transactions for ever, and has nothing to handle there.
    left = await lag(settings.broker, behind, first) if behind else {}
    still = {tp for tp, count in left.items() if count}
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while still and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(POLL_SECONDS)
        now = await read_ledger(engine, settings.consumer_group)
        still = {tp for tp in still if now.get(tp) == first.get(tp)}
    violations = [
        *(_lost(tp, log, first[tp]) for tp, log in logs.items() if tp in first and first[tp] < log.beginning),
        # By the ledger of before: the service goes on while the ends are asked for.
        *(_beyond(tp, log, before[tp]) for tp, log in logs.items() if tp in before and before[tp] > log.end),
        *(_standing(tp, first.get(tp), left[tp]) for tp in sorted(still)),
    ]
    meaning = "the ledger lies in the log, and reaches what was its end or moves"
    return Finding("I5 ledger", meaning, len(logs), len(violations), violations[:SHOWN_PER_CHECK])


async def read_ledger(engine: AsyncEngine, consumer_group: str) -> dict[Partition, int]:
    async with engine.connect() as conn:
        rows = await conn.execute(_LEDGER, {"consumer_group": consumer_group})
        return {Partition(row.topic, row.partition): row.next_offset for row in rows}


def _lost(tp: Partition, log: PartitionLog, position: int) -> str:
    return f"{tp} stands at {position}, and Kafka begins at {log.beginning}: what lay between was never handled"


def _beyond(tp: Partition, log: PartitionLog, position: int) -> str:
    return f"{tp} stands at {position}, beyond the log's end {log.end}: the topic was made anew, or the ledger is wrong"


def _standing(tp: Partition, position: int | None, count: int) -> str:
    where = "was never begun" if position is None else f"stands still at {position}"
    return f"{tp} {where}, {count} before the log's end"
