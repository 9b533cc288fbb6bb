"""What follows an attempt, whichever way a micro-batch is tried: ask the ledger, pause, hold, or note what was done."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from els_stream.backoff import Backoff
from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.failed_records import FailedRecordTracker
from els_stream.consumer.handler import LogFields, nothing
from els_stream.consumer.partition_buffers import PartitionBuffers
from els_stream.consumer.partition_state import MicroBatch, PartitionState, alive, spans_of
from els_stream.consumer.reporting import BatchTimings, ConsumerEvent, ConsumerMetrics
from els_stream.consumer.retries import Retries
from els_stream.consumer.transaction import Committed, FailedRecord
from els_stream.db.errors import DATABASE_ERRORS, ClassifiedError, FailureClass, classify
from els_stream.events.trace_context import correlation_of
from els_stream.kafka.offsets import Partition, StoredOffset

log = logging.getLogger(__name__)
lines = structlog.get_logger(__name__)

# A long outage is told of at its first attempt and then at every tenth.
LOG_EVERY = 10


class OffsetReader(Protocol):
    async def read(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]: ...


@dataclass(frozen=True, slots=True)
class ConsumerContext:
    """What settling micro-batches needs beside the handler; the same for all agents of a worker."""

    lane: PartitionBuffers
    ledger: OffsetReader
    backoff: Backoff
    reports: ConsumerMetrics
    retries: Retries
    remark: LogFields = nothing


class BatchOutcome:
    def __init__(self, agent: str, around: ConsumerContext) -> None:
        self._agent = agent
        self._around = around
        self.suspicion = FailedRecordTracker()

    def going(self, batch: MicroBatch) -> MicroBatch:
        """What of it is still ours to settle."""
        return () if self._around.lane.stopping else alive(batch)

    def done(self, batch: MicroBatch, done: Committed, started: float) -> None:
        self._around.retries.over(self._agent)
        self._around.lane.handled(batch)
        records = len(done.outcomes)
        self.suspicion.passed(records)
        labels = Counter(outcome.label for outcome in done.outcomes)
        took = BatchTimings(time.monotonic() - started, done.handler_seconds, done.commit_seconds)
        self._around.reports.record_batch(self._agent, labels, records, took)
        lines.info(
            "handled",
            agent=self._agent,
            records=records,
            outcomes=dict(labels),
            seconds=round(took.total, 4),
            commit_seconds=round(took.commit, 4),
            next_offsets={str(run.part.partition): run.hi for run in batch},
            events=self._around.remark(done.readings, done.outcomes),
        )

    def buried(self, suspects: Iterable[FailedRecord]) -> None:
        for suspect in suspects:
            self.suspicion.forget(suspect.run)
            self._around.lane.handled((suspect.run,))
            self._around.reports.record_dead_letter(self._agent, suspect.reason)
            where = suspect.run.part.partition
            lines.error(
                "dead letter",
                agent=self._agent,
                reason=suspect.reason.value,
                cause=suspect.cause,
                record=f"{where} at {suspect.run.hi - 1}",
                correlation_id=correlation_of(suspect.run.records[-1].headers),
            )

    async def ask(self, batch: MicroBatch, failure: ClassifiedError, behind: BatchOrder) -> None:
        """Asks the ledger, after the predecessors and outside of any transaction; drops what does not stand at `lo`.

        An error may be the echo of our own commit whose answer was lost, or of another owner's.
        """
        if failure.failure_class is not FailureClass.OFFSET_CONFLICT:
            self._around.reports.record_failure(self._agent, failure.failure_class, failure.cause)
        await behind.wait()
        attempt = 0
        while going := self.going(batch):
            try:
                await self._drop_what_moved(going)
            except DATABASE_ERRORS as error:
                attempt += 1
                await self.pause(classify(error), attempt)
            else:
                return

    async def _drop_what_moved(self, batch: MicroBatch) -> None:
        spans = spans_of(batch)
        rows = await self._around.ledger.read([span.partition for span in spans])
        moved = {s.partition for s in spans if s.partition not in rows or rows[s.partition].next_offset != s.start}
        for part in {run.part for run in batch if run.part.partition in moved}:
            self._around.reports.record_event(ConsumerEvent.PARTITION_RESTARTED)
            log.info("%s: the ledger moved under %s, which is positioned anew", self._agent, part.partition)
            self._around.lane.drop(part)

    async def pause(self, failure: ClassifiedError, attempt: int) -> None:
        """Backs off with readiness off; a rebalance or a stop ends the pause."""
        self._around.retries.retrying(self._agent, failure.cause)
        if attempt % LOG_EVERY == 1:
            log.warning("%s: %s (%s), attempt %d", self._agent, failure.failure_class, failure.cause, attempt)
        await self._around.lane.interruptible(self._around.backoff.full_jitter(attempt))

    def hold(self, parts: Iterable[PartitionState], cause: str) -> None:
        for part in parts:
            if part.live:
                seconds = self._around.lane.hold(part, cause, self._around.backoff.equal_jitter)
                self._around.reports.record_event(ConsumerEvent.PARTITION_PAUSED)
                log.error("%s: %s is held for %.1f s: %s", self._agent, part.partition, seconds, cause)
