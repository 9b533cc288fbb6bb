"""Runs micro-batches through the consumer's own transaction, with handler, outbox and stored offsets but no broker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.micro_batch import PartitionRecords
from els_stream.consumer.partition_state import PartitionState
from els_stream.consumer.transaction import Committed, Transactions
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.records import RawRecord
from els_stream.handlers.event_handler import DecodedRecord, DomainHandler
from els_stream.kafka.offsets import Partition, StoredOffset
from els_stream.queries import consumed_offsets

GROUP = "els"


async def _write_no_dead_letters(
    conn: AsyncConnection, records: Sequence[RawRecord], reason: DeadLetterReason, message: str
) -> None:
    """Do nothing: no record fails here."""


@dataclass
class MicroBatchRunner:
    """Processes records of one topic and partition, in their order."""

    engine: AsyncEngine
    handler: DomainHandler
    state: PartitionState = field(init=False)
    transactions: Transactions[DecodedRecord, Any] = field(init=False)

    def __post_init__(self) -> None:
        partition = Partition(self.handler.topic, 0)
        self.state = PartitionState(partition, StoredOffset(0, None), verify_last_record=False)
        self.transactions = Transactions(self.engine.begin, GROUP, self.handler, _write_no_dead_letters)

    async def initialize(self) -> None:
        """Store the first offset."""
        async with self.engine.begin() as conn:
            await consumed_offsets.initialize(conn, GROUP, {self.state.partition: 0})

    async def micro_batch(self, records: Sequence[RawRecord]) -> list[str]:
        """Commit the records together; return the label of each outcome."""
        batch = (PartitionRecords(self.state, self.state.next_take_offset, records),)
        result = await self.transactions.attempt(batch, order=BatchOrder())
        if not isinstance(result, Committed):
            raise AssertionError(f"not committed: {result}")  # noqa: TRY004 - a failed test
        self.state.next_take_offset = records[-1].offset + 1
        return [outcome.label for outcome in result.outcomes]

    async def run(self, records: Sequence[RawRecord], size: int) -> None:
        """Commit the records in micro-batches of `size`."""
        for chunk in chunks(records, size):
            await self.micro_batch(chunk)


def chunks(records: Sequence[RawRecord], size: int) -> Iterable[Sequence[RawRecord]]:
    return (records[start : start + size] for start in range(0, len(records), size))
