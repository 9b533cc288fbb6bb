"""Whatever a Kafka client does, no record that the log still has is skipped, and none is queued twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from els_stream.backoff import Backoff
from els_stream.consumer import fetcher
from els_stream.consumer.fetcher import Fetcher, FetchOptions
from els_stream.consumer.micro_batch import offset_ranges, records_of
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.reporting import ConsumerEvent, NullMetrics
from els_stream.kafka.offsets import OffsetRange, Partition, RecordFingerprint, StoredOffset
from tests.support.consumer_fakes import FakeOffsetStore, FakeRecord
from tests.support.fake_fetch_client import FakeKafka, FakePartitionLog

PARTITIONS = [Partition("alpha", number) for number in range(3)]
FAULTS = ["raise", "lose", "repeat", "rewind others", "forward others", "give up"]
ROUNDS_WITHOUT_FAULTS = 80  # each fault that is left costs one
# No pauses: the clock of the buffers stands, and the delay is nothing.
OPTIONS = FetchOptions(Backoff(0.0, 0.0), (OSError,), str)


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RETRY_DELAY_SECONDS", "FETCH_MAX_WAIT_SECONDS", "FULL_MAX_WAIT_SECONDS"):
        monkeypatch.setattr(fetcher, name, 0)


class CountedLosses(NullMetrics):
    def __init__(self) -> None:
        self.lost = 0

    def record_event(self, event: ConsumerEvent, count: int = 1) -> None:
        if event is ConsumerEvent.OFFSET_GAP_SKIPPED:
            self.lost += count


@st.composite
def logs(draw: st.DrawFn) -> FakePartitionLog:
    """A log of up to 25 offsets, some without a record, perhaps with one that can't be decoded."""
    holds = draw(st.lists(st.booleans(), max_size=25))
    records = {offset: FakeRecord(offset, b"%d" % offset) for offset, held in enumerate(holds) if held}
    bad = draw(st.sets(st.sampled_from(sorted(records)), max_size=1)) if records else set()
    return FakePartitionLog(records, len(holds), bad=bad)


steps = st.one_of(
    st.just(("fetch", 0)),
    st.just(("process", 0)),
    st.just(("restart", 0)),
    st.tuples(st.just("delete"), st.integers(1, 25)),
)


class FetchHarness:
    def __init__(self, logs: dict[Partition, FakePartitionLog], faults: Iterator[str]) -> None:
        self.logs = logs
        self.buffers = PartitionBuffers(BufferLimits(6, 1_000_000), clock=lambda: 0.0)
        self.buffers.mark_assignment_ready()
        self.store = FakeOffsetStore()
        self.metrics = CountedLosses()
        self.kafka = FakeKafka(logs, lambda: next(faults, ""))
        self.fetcher = Fetcher(self.buffers, self.kafka, self.store, self.metrics, OPTIONS)
        self.processed: dict[Partition, list[int]] = {tp: [] for tp in logs}

    async def do(self, step: str, number: int) -> None:
        match step:
            case "fetch":
                await self.fetcher.step()
            case "process":
                await self._process()
            case "restart":
                for state in list(self.buffers.partitions.values()):
                    self.buffers.restart_partition(state)
            case _:
                tp = PARTITIONS[number % len(PARTITIONS)]
                self.logs[tp].delete_before(number)

    async def _process(self) -> None:
        while any(state.queue for state in self.buffers.partitions.values()):
            batch = await self.buffers.take("alpha", 5, 1_000_000)
            for one in offset_ranges(batch):
                self._advance(one)
            for record in records_of(batch):
                self.processed[Partition("alpha", record.partition)].append(record.offset)
            self.buffers.mark_committed(batch)

    def _advance(self, one: OffsetRange) -> None:
        assert self.store.rows[one.partition].next_offset == one.start
        self.store.rows[one.partition] = StoredOffset(one.stop, RecordFingerprint(*one.fingerprint))


@settings(max_examples=200)
@given(
    st.lists(logs(), min_size=3, max_size=3),
    st.lists(st.sampled_from(["", "", *FAULTS]), max_size=60),
    st.lists(steps, max_size=30),
)
async def test_no_record_that_the_log_still_has_is_skipped(
    drawn: list[FakePartitionLog], faults: list[str], steps: list[tuple[str, int]]
) -> None:
    harness = FetchHarness(dict(zip(PARTITIONS, drawn, strict=True)), iter(faults))
    for step in steps:
        await harness.do(*step)
    for _ in range(ROUNDS_WITHOUT_FAULTS):
        await harness.do("fetch", 0)
        await harness.do("process", 0)
    for tp, log in harness.logs.items():
        processed = harness.processed[tp]
        readable_end = min((offset for offset in log.bad if offset >= log.beginning), default=log.end)
        must = [offset for offset in log.records if offset not in log.deleted and offset < readable_end]
        assert processed == sorted(set(processed)), "in order, and once"
        assert set(must) <= set(processed)
        assert harness.store.lost.get(tp, set()) & set(log.records) <= log.deleted, "nothing is lost that the log has"
        assert set(processed) <= set(log.records) - {offset for offset in log.bad if offset >= log.beginning}
    assert (harness.metrics.lost > 0) <= any(log.beginning for log in harness.logs.values())
    assert (harness.metrics.lost > 0) == any(harness.store.lost.values()), "what is counted is kept, for `els verify`"
