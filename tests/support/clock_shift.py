"""Lets days pass at once: makes all rows older, and sets the stored offsets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.errors import ServersUnavailable
from els_stream.events.topics import INPUT_TOPICS
from els_stream.kafka.offsets import Partition
from els_stream.maintenance.expiry import (
    REGISTRATION_TOPICS,
    SLOT_TOPICS,
    ExpiryPolicy,
    expire_pending,
    time_out_batches,
)
from els_stream.queries.consumed_offsets import partition_arrays
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness

GROUP = "essay-lifecycle-service"
PREFIX = "staging."
NUMBERS = range(2)

_SET_OFFSETS = text("""
    INSERT INTO consumed_offsets AS c
        (consumer_group, topic, partition, next_offset, watermark_at)
    SELECT :consumer_group, topic, partition, 7, now() - CAST(:watermark AS interval)
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])) AS p (topic, partition)
    ON CONFLICT (consumer_group, topic, partition) DO UPDATE
    SET watermark_at = excluded.watermark_at, updated_at = excluded.updated_at
""")

_PASS = (
    """
    UPDATE batch_essay_trackers
    SET deadline_at = deadline_at - CAST(:time AS interval), created_at = created_at - CAST(:time AS interval),
        registered_at = registered_at - CAST(:time AS interval)
    """,
    "UPDATE batch_pending_events SET pending_since = pending_since - CAST(:time AS interval)",
    """
    UPDATE consumed_offsets
    SET watermark_at = watermark_at - CAST(:time AS interval), updated_at = updated_at - CAST(:time AS interval),
        record_timestamp = record_timestamp - CAST(extract(epoch FROM CAST(:time AS interval)) * 1000 AS bigint)
    """,
)


def partitions(*of: str) -> list[Partition]:
    """Return the partitions of these logical topics, or of all input topics, under the broker's names."""
    return [Partition(PREFIX + topic, number) for topic in of or INPUT_TOPICS for number in NUMBERS]


@dataclass
class ClockShift:
    """`broker` are the partitions that the broker has; None while it does not answer."""

    harness: BatchHarness
    broker: Collection[Partition] | None = field(default_factory=partitions)
    retention: timedelta = timedelta(days=7)
    step: int = 100
    prefix: str = PREFIX

    @property
    def policy(self) -> ExpiryPolicy:
        return ExpiryPolicy(self.list_partitions, GROUP, self.prefix, self.retention, self.step)

    async def list_partitions(self, names: Sequence[str]) -> frozenset[Partition]:
        if self.broker is None:
            raise ServersUnavailable("the broker does not answer")
        return frozenset(partition for partition in self.broker if partition.topic in names)

    async def pass_(self, time: timedelta) -> None:
        """Make every row older by this time."""
        for statement in _PASS:
            await self.harness.execute(statement, time=time)

    async def processed(
        self, *, watermark: timedelta = timedelta(0), of: Sequence[Partition] | None = None, group: str = GROUP
    ) -> None:
        """Set how old the watermark of these or all partitions is; by default they were processed up to now."""
        chosen = partitions() if of is None else of
        async with self.harness.engine.begin() as conn:
            params = {"consumer_group": group, "watermark": watermark, **partition_arrays(chosen)}
            await conn.execute(_SET_OFFSETS, params)

    async def time_out(self) -> int:
        async with self.harness.engine.begin() as conn:
            return await time_out_batches(conn, self.policy, await self.policy.partitions_of(SLOT_TOPICS))

    async def expire_pending(self) -> int:
        async with self.harness.engine.begin() as conn:
            return await expire_pending(conn, self.policy, await self.policy.partitions_of(REGISTRATION_TOPICS))

    async def timed_out(self, conn: AsyncConnection) -> list[str]:
        rows = await conn.execute(text("SELECT batch_id FROM batch_essay_trackers WHERE timed_out_at IS NOT NULL"))
        return sorted(rows.scalars())


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BATCH = make.BATCH
