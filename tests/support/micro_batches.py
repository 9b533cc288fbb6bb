"""Micro-batches through the intake's own transaction: the handler, the outbox and the ledger, without a broker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.partition_state import PartitionRecords, PartitionState
from els_stream.consumer.transaction import Committed, Transactions
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.records import RawRecord
from els_stream.handlers.event_handler import DecodedRecord, DomainHandler
from els_stream.kafka.offsets import Partition, StoredOffset
from els_stream.queries import consumed_offsets

GROUP = "els"


async def _bury_nothing(
    conn: AsyncConnection, records: Sequence[RawRecord], reason: DeadLetterReason, message: str
) -> None:
    """Suspects are the intake's business; there are none here."""


@dataclass
class MicroBatchRunner:
    """One topic's records, of one partition, in their order."""

    engine: AsyncEngine
    handler: DomainHandler
    part: PartitionState = field(init=False)
    transactions: Transactions[DecodedRecord, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.part = PartitionState(Partition(self.handler.topic, 0), StoredOffset(0, None), check=False)
        self.transactions = Transactions(self.engine.begin, GROUP, self.handler, _bury_nothing)

    async def adopt(self) -> None:
        async with self.engine.begin() as conn:
            await consumed_offsets.initialize(conn, GROUP, {self.part.partition: 0})

    async def micro_batch(self, records: Sequence[RawRecord]) -> list[str]:
        """Commits them together; the label of what became of each."""
        result = await self.transactions.attempt(
            (PartitionRecords(self.part, self.part.tail, records),), behind=BatchOrder()
        )
        if not isinstance(result, Committed):
            raise AssertionError(f"not committed: {result}")  # noqa: TRY004 - a failed test
        self.part.tail = records[-1].offset + 1
        return [outcome.label for outcome in result.outcomes]

    async def run(self, records: Sequence[RawRecord], size: int) -> None:
        for chunk in chunks(records, size):
            await self.micro_batch(chunk)


def chunks(records: Sequence[RawRecord], size: int) -> Iterable[Sequence[RawRecord]]:
    return (records[start : start + size] for start in range(0, len(records), size))
