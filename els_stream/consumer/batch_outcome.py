"""What follows from the result of an attempt: committed offsets, dead letters, pauses, reloaded offsets, reports."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import structlog

from els_stream.backoff import Backoff
from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.failed_records import FailedRecordTracker
from els_stream.consumer.micro_batch import MicroBatch, offset_ranges, only_active
from els_stream.consumer.partition_buffers import PartitionBuffers
from els_stream.consumer.partition_state import PartitionState
from els_stream.consumer.reporting import BatchTimings, ConsumerEvent, ConsumerMetrics
from els_stream.consumer.transaction import Committed, FailedRecord
from els_stream.db.errors import DATABASE_ERRORS, ClassifiedError, FailureClass, classify
from els_stream.events.trace_context import correlation_of
from els_stream.handlers.handler import HasLabel
from els_stream.kafka.offsets import Partition, StoredOffset

log = logging.getLogger(__name__)
batch_log = structlog.get_logger(__name__)

# A long outage is logged at the first attempt and then at every tenth.
LOG_EVERY_ATTEMPTS = 10

LogFields: TypeAlias = Callable[[Sequence[object], Sequence[HasLabel]], Sequence[Mapping[str, str]]]
"""Returns log fields of single records of a committed micro-batch, from decoded records and outcomes: ids only."""


def no_log_fields(_decoded: Sequence[object], _outcomes: Sequence[HasLabel]) -> list[Mapping[str, str]]:
    return []


class OffsetReader(Protocol):
    async def read(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]: ...


class RetryingAgents:
    """The agents that are retrying now, and the causes: a worker with one is not ready, and still alive."""

    def __init__(self) -> None:
        self.causes: dict[str, str] = {}

    def add(self, agent: str, cause: str) -> None:
        self.causes[agent] = cause

    def remove(self, agent: str) -> None:
        self.causes.pop(agent, None)


@dataclass(frozen=True, slots=True)
class ConsumerContext:
    """What processing a micro-batch needs beside the handler; the same for all agents of a worker."""

    buffers: PartitionBuffers
    store: OffsetReader
    backoff: Backoff
    metrics: ConsumerMetrics
    retrying: RetryingAgents
    log_fields: LogFields = no_log_fields


class BatchReport:
    """Log lines and metrics of one agent's micro-batches."""

    def __init__(self, agent: str, context: ConsumerContext) -> None:
        self._agent = agent
        self._metrics = context.metrics
        self._log_fields = context.log_fields

    def committed(self, batch: MicroBatch, result: Committed, seconds: float) -> None:
        records = len(result.outcomes)
        labels = Counter(outcome.label for outcome in result.outcomes)
        timings = BatchTimings(seconds, result.handler_seconds, result.commit_seconds)
        self._metrics.record_batch(self._agent, labels, records, timings)
        self._metrics.record_drift(self._agent, labels, result.decoded, result.outcomes)
        batch_log.info(
            "handled",
            agent=self._agent,
            records=records,
            outcomes=dict(labels),
            seconds=round(timings.total, 4),
            commit_seconds=round(timings.commit, 4),
            next_offsets={str(piece.state.partition): piece.stop for piece in batch},
            events=self._log_fields(result.decoded, result.outcomes),
        )

    def dead_lettered(self, failed: FailedRecord) -> None:
        self._metrics.record_dead_letter(self._agent, failed.reason)
        record = failed.record
        batch_log.error(
            "dead letter",
            agent=self._agent,
            reason=failed.reason.value,
            cause=failed.cause,
            record=f"{record.state.partition} at {record.stop - 1}",
            correlation_id=correlation_of(record.records[-1].headers),
        )

    def failed(self, failure: ClassifiedError) -> None:
        if failure.failure_class is not FailureClass.OFFSET_CONFLICT:
            self._metrics.record_failure(self._agent, failure.failure_class, failure.cause)

    def backing_off(self, failure: ClassifiedError, attempt: int) -> None:
        if attempt % LOG_EVERY_ATTEMPTS == 1:
            log.warning("%s: %s (%s), attempt %d", self._agent, failure.failure_class, failure.cause, attempt)

    def restarted(self, partition: Partition) -> None:
        self._metrics.record_event(ConsumerEvent.PARTITION_RESTARTED)
        log.info("%s: another stored offset than expected, %s is positioned again", self._agent, partition)

    def paused(self, partition: Partition, seconds: float, cause: str) -> None:
        self._metrics.record_event(ConsumerEvent.PARTITION_PAUSED)
        log.error("%s: %s is paused for %.1f s: %s", self._agent, partition, seconds, cause)


class BatchOutcome:
    """Applies the results of one agent's attempts to the buffers, and reports them."""

    def __init__(self, agent: str, context: ConsumerContext) -> None:
        self._agent = agent
        self._context = context
        self._report = BatchReport(agent, context)
        self.failed_records = FailedRecordTracker()

    def still_owned(self, batch: MicroBatch) -> MicroBatch:
        """Return what this worker still has to process: nothing while it stops."""
        return () if self._context.buffers.stopping else only_active(batch)

    def succeeded(self, batch: MicroBatch, result: Committed, started: float) -> None:
        """Record a commit. `started`: when the attempt began, by the monotonic clock."""
        self._context.retrying.remove(self._agent)
        self._context.buffers.mark_committed(batch)
        self.failed_records.count_succeeded(len(result.outcomes))
        self._report.committed(batch, result, time.monotonic() - started)
        for one in result.undecodable:
            self._report.dead_lettered(one)

    def dead_lettered(self, failed: Iterable[FailedRecord]) -> None:
        """Record that the dead letters of these records are committed."""
        for one in failed:
            self.failed_records.remove(one.record)
            self._context.buffers.mark_committed((one.record,))
            self._report.dead_lettered(one)

    async def reload_offsets(self, batch: MicroBatch, failure: ClassifiedError, order: BatchOrder) -> None:
        """Wait for the preceding micro-batch, then restart the partitions whose stored offset is not the batch's start.

        The failure may be the lost answer to our own COMMIT, or another owner's progress. Retries without an end while
        the database is away and the partitions are owned.
        """
        self._report.failed(failure)
        await order.wait_for_predecessor()
        attempt = 0
        while owned := self.still_owned(batch):
            try:
                await self._restart_moved(owned)
            except DATABASE_ERRORS as error:
                attempt += 1
                await self.back_off(classify(error), attempt)
            else:
                return

    async def _restart_moved(self, batch: MicroBatch) -> None:
        ranges = offset_ranges(batch)
        stored = await self._context.store.read([one.partition for one in ranges])
        moved = {
            one.partition
            for one in ranges
            if one.partition not in stored or stored[one.partition].next_offset != one.start
        }
        for state in {piece.state for piece in batch if piece.state.partition in moved}:
            self._report.restarted(state.partition)
            self._context.buffers.restart_partition(state)

    async def back_off(self, failure: ClassifiedError, attempt: int) -> None:
        """Wait before a retry, not ready meanwhile; a rebalance or a stop ends the wait."""
        self._context.retrying.add(self._agent, failure.cause)
        self._report.backing_off(failure, attempt)
        await self._context.buffers.wait_unless_closed(self._context.backoff.full_jitter(attempt))

    def pause(self, states: Iterable[PartitionState], cause: str) -> None:
        for state in states:
            if state.active:
                seconds = self._context.buffers.pause_partition(state, cause, self._context.backoff.equal_jitter)
                self._report.paused(state.partition, seconds, cause)

    def ended(self) -> None:
        """Record that nothing of the agent's newest micro-batch is left to retry."""
        self._context.retrying.remove(self._agent)
