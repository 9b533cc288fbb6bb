"""Unique indexes stop what no lock of the service can see; the consumer retries, and finds a repeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.backoff import Backoff
from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.batch_outcome import BatchOutcome, ConsumerContext, RetryingAgents
from els_stream.consumer.batch_processor import BatchProcessor
from els_stream.consumer.micro_batch import take_records
from els_stream.consumer.offset_store import OffsetStore
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.partition_state import PartitionState
from els_stream.consumer.reporting import BatchTimings, NullMetrics
from els_stream.consumer.transaction import Transactions
from els_stream.db.errors import FailureClass
from els_stream.domain.claim_strategy import Strategy
from els_stream.events import topics
from els_stream.events.records import RawRecord
from els_stream.handlers.dead_letters import dead_letter_records
from els_stream.kafka.offsets import Partition, StoredOffset
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness, handlers_by_topic
from tests.support.invariants import broken_invariants
from tests.support.staged_workers import worker
from tests.support.waiting import until

GROUP = "essay-lifecycle-service"
ONE_WAITS = text("""
    SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
""")
# By code that does not know trackers.
TAKE_LAST_SLOT = (
    """
    UPDATE slot_assignments SET status = 'assigned', text_storage_id = :text, file_upload_id = :upload
    WHERE essay_id = :essay
    """,
    """
    UPDATE essay_states SET text_storage_id = :text, file_upload_id = :upload, filled_at = now(),
                            current_status = 'ready_for_processing' WHERE essay_id = :essay
    """,
)


@pytest.fixture
async def harness(engine: AsyncEngine, claim_mode: tuple[Strategy, bool]) -> AsyncIterator[BatchHarness]:
    """A batch harness that ends with the service's own invariants only: other code publishes no events."""
    strategy, advisory_locks = claim_mode
    yield BatchHarness(engine=engine, handlers=handlers_by_topic(strategy=strategy, advisory_locks=advisory_locks))
    async with engine.connect() as conn:
        assert await broken_invariants(conn) == []


@dataclass
class RecordingMetrics(NullMetrics):
    failures: list[tuple[str, str]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def record_failure(self, agent: str, failure_class: str, cause: str) -> None:
        del agent
        self.failures.append((failure_class, cause))

    def record_batch(self, agent: str, outcomes: Mapping[str, int], records: int, timings: BatchTimings) -> None:
        del agent, records, timings
        self.labels.update(outcomes)


async def process(harness: BatchHarness, records: list[RawRecord], metrics: RecordingMetrics) -> int:
    """Process the records as one micro-batch; return the stored offset afterwards."""
    store, partition = OffsetStore(harness.engine, GROUP), Partition(topics.CONTENT_PROVISIONED, 0)
    await store.initialize({partition: records[0].offset})
    buffers = PartitionBuffers(BufferLimits(1000, 1_000_000))
    state = PartitionState(partition, StoredOffset(records[0].offset, None), verify_last_record=False)
    buffers.add([state])
    state.receive(records, topics.CONTENT_PROVISIONED)
    context = ConsumerContext(buffers, store, Backoff(0.001, 0.002), metrics, RetryingAgents())
    handler = harness.handlers[topics.CONTENT_PROVISIONED]
    attempts = Transactions(harness.engine.begin, GROUP, handler, dead_letter_records)
    processor = BatchProcessor(attempts, BatchOutcome(handler.name, context))
    await processor.process(take_records([state], 1000, 1_000_000), BatchOrder())
    return (await store.read([partition]))[partition].next_offset


async def test_a_record_that_another_commits_meanwhile_is_a_repeat_at_the_retry(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=3))
    contents, metrics = harness.contents([0, 1]), RecordingMetrics()
    slot = {
        "essay": make.essay_ids(3)[2],
        "text": "text-batch-of-9b-00000",
        "upload": "upload-batch-of-9b-00000",
    }
    async with worker(harness) as other:
        for statement in TAKE_LAST_SLOT:
            await other.execute(statement, **slot)
        processing = asyncio.create_task(process(harness, contents, metrics))

        async def waits() -> bool:
            async with harness.engine.connect() as observer:
                return bool(await observer.scalar(ONE_WAITS))

        await until(waits)
        await other.commit()

    assert await processing == contents[-1].offset + 1
    assert metrics.failures == [(FailureClass.DATA_ERROR, "23505")]
    assert metrics.labels == {"already_assigned": 1, "assigned": 1}
    assert await harness.counts() == ("open", 1, 2, 0, 0)
    assert await harness.reasons() == []
