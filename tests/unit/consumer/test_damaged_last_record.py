"""The last processed record is damaged, so that a start can't compare it with the log."""

from __future__ import annotations

from uuid import UUID

import pytest

from els_stream.consumer.fetcher import Fetcher
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.reporting import NullMetrics
from els_stream.consumer.start_offsets import LogState
from els_stream.kafka.offsets import Partition, RecordFingerprint, StoredOffset
from els_stream.kafka.partition_read import ReadFailure
from tests.support.consumer_fakes import FETCH_OPTIONS, FakeLog, FakeOffsetStore

ONE = Partition("alpha", 0)
TOPIC_ID = UUID(int=7)
DAMAGED = ReadFailure("CorruptRecordException in the batch 9 to 9", damaged=True)
AWAY = ReadFailure("LeaderNotAvailableError")


@pytest.mark.parametrize(
    ("topic_id", "failure", "next_start"),
    [
        pytest.param(TOPIC_ID, DAMAGED, 10, id="the topic's id proves the log"),
        pytest.param(None, DAMAGED, 9, id="nothing proves the log"),
        pytest.param(TOPIC_ID, AWAY, 9, id="it may be readable later"),
    ],
)
async def test_a_damaged_record_is_passed_over_if_the_topic_is_the_same(
    topic_id: UUID | None, failure: ReadFailure, next_start: int
) -> None:
    log = FakeLog({ONE: LogState(0, 20, None)}, ids={} if topic_id is None else {ONE.topic: topic_id})
    store = FakeOffsetStore({ONE: StoredOffset(10, RecordFingerprint(1, 2), topic_id)})
    buffers = PartitionBuffers(BufferLimits(100, 1_000_000), clock=lambda: 0.0)
    buffers.mark_assignment_ready()
    fetcher = Fetcher(buffers, log, store, NullMetrics(), FETCH_OPTIONS)
    log.failures[ONE] = failure

    await fetcher.step()

    state = buffers.partitions[ONE]
    assert state.start == next_start
    assert (state.fetch_pause is None) == (next_start == 10)
