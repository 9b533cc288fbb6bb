from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest

from els_stream.consumer import batch_loop
from els_stream.consumer.batch_loop import BatchLoop, MicroBatchLimits
from els_stream.consumer.batch_order import BatchOrder, Stage
from els_stream.consumer.micro_batch import MicroBatch
from els_stream.consumer.partition_state import PartitionState
from els_stream.consumer.transaction import AttemptResult, Committed, FailedRecord, RehearsalResult, Rehearsed
from tests.support.consumer_fakes import ProcessorHarness, fake_records, offsets_of, partition_at
from tests.support.waiting import until

LIMITS = MicroBatchLimits(records=8, bytes=1_000_000, in_flight=2)
WAIT_SECONDS = 0.02  # a second transaction could begin by then
LONG_SECONDS = 60.0


class OpenTransactions:
    """Transactions that stay open until `commit`; `orders` and `batches` are those that began."""

    def __init__(self) -> None:
        self.orders: list[BatchOrder] = []
        self.batches: list[list[int]] = []
        self.commit = asyncio.Event()

    async def attempt(
        self, batch: MicroBatch, failed: Sequence[FailedRecord] = (), *, order: BatchOrder
    ) -> AttemptResult:
        del failed
        self.orders.append(order)
        self.batches.append(offsets_of(batch))
        await self.commit.wait()
        return Committed((), (), 0.0, 0.0)

    async def rehearse(
        self, batch: MicroBatch, failed: Sequence[FailedRecord], *, order: BatchOrder
    ) -> RehearsalResult:
        del batch, failed, order
        return Rehearsed()

    async def began(self, count: int) -> None:
        await until(lambda: len(self.batches) >= count, every=0)

    async def none_begins(self) -> bool:
        before = len(self.batches)
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                await self.began(before + 1)
        return len(self.batches) == before


@pytest.fixture
def transactions() -> OpenTransactions:
    return OpenTransactions()


@pytest.fixture
async def partition(harness: ProcessorHarness, transactions: OpenTransactions) -> AsyncIterator[PartitionState]:
    """Yield the partition of a running loop."""
    state = partition_at()
    harness.buffers.add([state])
    loop = BatchLoop("agent", "alpha", transactions, harness.context, LIMITS)
    running = asyncio.create_task(loop.run())
    yield state
    transactions.commit.set()
    harness.buffers.stop()
    await asyncio.wait_for(running, 5)
    await harness.buffers.quiesce(5)


@pytest.fixture
def gathers_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_loop, "MAX_GATHER_SECONDS", LONG_SECONDS)


def receive(harness: ProcessorHarness, partition: PartitionState, first: int, count: int) -> None:
    partition.receive(fake_records(first, count), "alpha")
    harness.buffers.notify("alpha")


async def first_works_while_second_waits(
    harness: ProcessorHarness, partition: PartitionState, transactions: OpenTransactions
) -> None:
    receive(harness, partition, 0, 1)
    await transactions.began(1)
    receive(harness, partition, 1, 1)


@pytest.mark.usefixtures("gathers_long")
async def test_few_records_gather_until_only_the_commit_is_left(
    harness: ProcessorHarness, partition: PartitionState, transactions: OpenTransactions
) -> None:
    await first_works_while_second_waits(harness, partition, transactions)
    assert await transactions.none_begins()
    transactions.orders[0].advance(Stage.LOCKED)
    assert await transactions.none_begins()
    receive(harness, partition, 2, 1)

    transactions.orders[0].advance(Stage.OFFSETS_ADVANCED)

    await transactions.began(2)
    assert transactions.batches == [[0], [1, 2]]


@pytest.mark.usefixtures("gathers_long")
async def test_a_backlog_has_two_transactions_in_flight_at_once(
    harness: ProcessorHarness, partition: PartitionState, transactions: OpenTransactions
) -> None:
    receive(harness, partition, 0, 10)
    await transactions.began(2)
    assert transactions.batches == [[*range(8)], [8, 9]]


async def test_records_do_not_gather_for_as_long_as_a_transaction_waits_for_a_lock(
    harness: ProcessorHarness, partition: PartitionState, transactions: OpenTransactions
) -> None:
    await first_works_while_second_waits(harness, partition, transactions)
    await transactions.began(2)
    assert transactions.orders[0].stage is Stage.STARTED
