"""Compare the stored offsets with the input topics: they must lie in the log, and move to its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from els_stream.events.topics import INPUT_TOPICS
from els_stream.kafka.log_offsets import lag, read_logs
from els_stream.queries import consumed_offsets
from els_stream.verify.invariants import make_finding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings
    from els_stream.kafka.log_offsets import PartitionLog
    from els_stream.kafka.offsets import Partition
    from els_stream.verify.invariants import Finding

# A partition with unprocessed records whose stored offset does not move for this long is stalled.
STALL_SECONDS: Final = 10.0
POLL_INTERVAL_SECONDS: Final = 0.25


async def check_progress(engine: AsyncEngine, settings: Settings) -> Finding:
    """Check each partition of the input topics; takes up to STALL_SECONDS if there are unprocessed records."""
    before = await _read_offsets(engine, settings.consumer_group)
    logs = await read_logs(settings.broker, [settings.topic_prefix + topic for topic in INPUT_TOPICS])
    offsets = await _read_offsets(engine, settings.consumer_group)
    read_until = await _read_until(engine, settings.consumer_group)
    unread = {tp: log for tp, log in logs.items() if offsets.get(tp, log.beginning) < log.end}
    # Only transaction markers may be left before the end of the log: they are never processed.
    lags = await lag(settings.broker, unread, offsets) if unread else {}
    stalled = {tp for tp, records in lags.items() if records}
    deadline = asyncio.get_running_loop().time() + STALL_SECONDS
    while stalled and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
        now = await _read_offsets(engine, settings.consumer_group)
        stalled = {tp for tp in stalled if now.get(tp) == offsets.get(tp)}
    violations = [
        *(
            _lost(tp, log, offsets[tp])
            for tp, log in logs.items()
            if tp in offsets and max(offsets[tp], read_until.get(tp, 0)) < log.beginning
        ),
        # Compared with the offsets from before the ends were read: the service may advance meanwhile.
        *(_beyond_end(tp, log, before[tp]) for tp, log in logs.items() if tp in before and before[tp] > log.end),
        *(f"{tp}: it is missing, or no broker leads it" for tp in sorted(_inputs(before, settings) - logs.keys())),
        *(_stalled(tp, offsets.get(tp), lags[tp]) for tp in sorted(stalled)),
    ]
    meaning = "the stored offsets lie in the log, and are at its end or move"
    return make_finding("I5 offsets", meaning, len(logs), violations)


def _inputs(offsets: Mapping[Partition, int], settings: Settings) -> set[Partition]:
    return {tp for tp in offsets if tp.topic.removeprefix(settings.topic_prefix) in INPUT_TOPICS}


async def _read_offsets(engine: AsyncEngine, consumer_group: str) -> dict[Partition, int]:
    async with engine.connect() as conn:
        return await consumed_offsets.read_all(conn, consumer_group)


async def _read_until(engine: AsyncEngine, consumer_group: str) -> dict[Partition, int]:
    async with engine.connect() as conn:
        return await consumed_offsets.read_until(conn, consumer_group)


def _lost(tp: Partition, log: PartitionLog, offset: int) -> str:
    return f"{tp}: the stored offset is {offset}, the log begins at {log.beginning}: records were deleted unprocessed"


def _beyond_end(tp: Partition, log: PartitionLog, offset: int) -> str:
    return f"{tp}: the stored offset {offset} is beyond the log's end {log.end}: was the topic recreated?"


def _stalled(tp: Partition, offset: int | None, records: int) -> str:
    where = "no offset is stored" if offset is None else f"the stored offset {offset} does not move"
    return f"{tp}: {where}, {records} before the log's end"
