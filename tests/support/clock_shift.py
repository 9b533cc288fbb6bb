"""Days that pass in no time: rows are made older, and the ledger says what it is told to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.events import topics
from els_stream.events.topics import INPUT_TOPICS
from els_stream.kafka.offsets import Partition
from els_stream.maintenance.expiry import ExpiryPolicy, give_up_parked, time_out_batches
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness

GROUP = "essay-lifecycle-service"
PREFIX = "staging."
NUMBERS = range(2)
FILL_SLOTS = (topics.CONTENT_PROVISIONED, topics.VALIDATION_FAILED)

_SET_LEDGER = text("""
    INSERT INTO consumed_offsets AS c
        (consumer_group, topic, partition, next_offset, record_timestamp, record_crc, watermark_at, updated_at)
    SELECT :consumer_group, topic, partition, 7,
           CAST(extract(epoch FROM now() - CAST(:record AS interval)) * 1000 AS bigint),
           CASE WHEN CAST(:record AS interval) IS NOT NULL THEN 0 END, now() - CAST(:caught_up AS interval),
           now() - coalesce(CAST(:record AS interval), interval '0')
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])) AS p (topic, partition)
    ON CONFLICT (consumer_group, topic, partition) DO UPDATE
    SET record_timestamp = excluded.record_timestamp, record_crc = excluded.record_crc,
        watermark_at = excluded.watermark_at, updated_at = excluded.updated_at
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
    """As the broker has them, of these topics or all."""
    return [Partition(PREFIX + topic, number) for topic in of or INPUT_TOPICS for number in NUMBERS]


@dataclass
class ClockShift:
    school: BatchHarness
    broker: Collection[Partition] = field(default_factory=partitions)
    retention: timedelta = timedelta(days=7)
    step: int = 100

    @property
    def policy(self) -> ExpiryPolicy:
        return ExpiryPolicy(GROUP, PREFIX, self.retention, lambda: self.broker, self.step)

    async def pass_(self, time: timedelta) -> None:
        """All that the tables know of becomes older by this."""
        for statement in _PASS:
            await self.school.execute(statement, time=time)

    async def handled(
        self,
        *,
        record: timedelta | None = None,
        caught_up: timedelta | None = None,
        of: Sequence[Partition] | None = None,
        group: str = GROUP,
    ) -> None:
        """How long ago the last handled record was written, and the reached end was read, of these or all partitions.

        With neither, they were handled just now.
        """
        if record is None and caught_up is None:
            caught_up = timedelta(0)
        named = partitions() if of is None else of
        async with self.school.engine.begin() as conn:
            known = {"topics": [tp.topic for tp in named], "partitions": [tp.partition for tp in named]}
            await conn.execute(
                _SET_LEDGER, {"consumer_group": group, "record": record, "caught_up": caught_up, **known}
            )

    async def time_out(self) -> int:
        async with self.school.engine.begin() as conn:
            return await time_out_batches(conn, self.policy)

    async def give_up(self) -> int:
        async with self.school.engine.begin() as conn:
            return await give_up_parked(conn, self.policy)

    async def timed_out(self, conn: AsyncConnection) -> list[str]:
        rows = await conn.execute(text("SELECT batch_id FROM batch_essay_trackers WHERE timed_out_at IS NOT NULL"))
        return sorted(rows.scalars())


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BATCH = make.BATCH
