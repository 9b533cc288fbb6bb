from __future__ import annotations

import asyncio

import pytest

from els_stream.consumer.fetcher import FETCH_ERROR_THRESHOLD, FETCH_ERROR_WINDOW_SECONDS, Fetcher, FetchHealth
from els_stream.consumer.micro_batch import offset_ranges
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.reporting import NullMetrics
from els_stream.consumer.start_offsets import LogState
from els_stream.kafka.offsets import Partition, StoredOffset
from tests.support.consumer_fakes import FETCH_OPTIONS, FakeLog, FakeOffsetStore, fake_records
from tests.support.waiting import suspended

ONE, TWO = Partition("alpha", 0), Partition("alpha", 1)


@pytest.fixture
def buffers() -> PartitionBuffers:
    return PartitionBuffers(BufferLimits(5, 1_000_000))


def fetcher_of(buffers: PartitionBuffers, log: FakeLog, store: FakeOffsetStore) -> Fetcher:
    buffers.mark_assignment_ready()
    return Fetcher(buffers, log, store, NullMetrics(), FETCH_OPTIONS)


async def test_a_full_partition_is_not_fetched_and_blocks_no_other(buffers: PartitionBuffers) -> None:
    log = FakeLog({ONE: LogState(0, 9, None), TWO: LogState(0, 9, None)})
    fetcher = fetcher_of(buffers, log, FakeOffsetStore({ONE: StoredOffset(0, None), TWO: StoredOffset(0, None)}))
    log.records[ONE] = fake_records(0, 9)
    await fetcher.step()
    await fetcher.step()
    assert log.fetches == [{ONE: 0, TWO: 0}, {TWO: 0}]


async def test_when_all_partitions_are_full_nothing_is_fetched(buffers: PartitionBuffers) -> None:
    log = FakeLog({ONE: LogState(0, 9, None)})
    fetcher = fetcher_of(buffers, log, FakeOffsetStore({ONE: StoredOffset(0, None)}))
    log.records[ONE] = fake_records(0, 9)
    await fetcher.step()
    stepping = asyncio.create_task(fetcher.step())
    await suspended(stepping)
    await buffers.take("alpha", 9, 100_000)
    await asyncio.wait_for(stepping, 0.5)
    assert log.fetches == [{ONE: 0}]


async def test_records_fetched_before_a_rebalance_are_discarded(buffers: PartitionBuffers) -> None:
    log = FakeLog({ONE: LogState(0, 9, None)})
    fetcher = fetcher_of(buffers, log, FakeOffsetStore({ONE: StoredOffset(0, None)}))
    log.records[ONE] = fake_records(0, 3)
    log.on_fetch = buffers.close_all
    await fetcher.step()
    assert not buffers.partitions[ONE].queue


async def test_a_recreated_topic_is_read_from_its_beginning(buffers: PartitionBuffers) -> None:
    store = FakeOffsetStore({ONE: StoredOffset(5, fake_records(90, 1)[0].fingerprint)})
    log = FakeLog({ONE: LogState(0, 9, None)})
    fetcher = fetcher_of(buffers, log, store)
    log.records[ONE] = fake_records(4, 5)
    await fetcher.step()
    await fetcher.step()
    log.records[ONE] = fake_records(0, 5)
    await fetcher.step()
    (taken,) = offset_ranges(await buffers.take("alpha", 100, 100_000))
    assert (taken.start, taken.stop) == (0, 5)


def test_only_repeated_fetch_errors_make_the_worker_unready() -> None:
    now = 0.0
    health = FetchHealth(clock=lambda: now)
    shown = []
    for _ in range(FETCH_ERROR_THRESHOLD):
        health.record_fetch_error("UnsupportedCodecError")
        shown.append(health.fetch_error)
    now += FETCH_ERROR_WINDOW_SECONDS
    shown.append(health.fetch_error)

    assert shown == [*[None] * (FETCH_ERROR_THRESHOLD - 1), "UnsupportedCodecError", None]
