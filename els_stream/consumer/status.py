"""The consumer's state for readiness, liveness and metrics: what keeps it from consuming, and its lag.

A worker that retries, pauses partitions, rebalances or stops declares it here, so that liveness does not restart it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from els_stream.consumer.batch_outcome import RetryingAgents
from els_stream.consumer.fetcher import FetchHealth
from els_stream.consumer.group_watch import GroupHealth
from els_stream.consumer.open_transactions import describe
from els_stream.consumer.partition_buffers import PartitionBuffers
from els_stream.consumer.partition_state import PartitionState
from els_stream.kafka.offsets import Partition, PartitionLag


class KafkaState(Protocol):
    def connection_problem(self) -> str | None: ...
    def has_leader(self, partition: Partition) -> bool: ...


class ConsumerStatus:
    """Before `attach` there are no errors and no lag, and the assignment is not ready."""

    def __init__(
        self,
        buffers: PartitionBuffers,
        retrying: RetryingAgents,
        logical_topic: Callable[[str], str],
        group_health: GroupHealth,
    ) -> None:
        self._buffers = buffers
        self._retrying = retrying
        self._logical_topic = logical_topic
        self._group_health = group_health
        self._fetch_health = FetchHealth()
        self._kafka: KafkaState | None = None

    def attach(self, fetch_health: FetchHealth, kafka: KafkaState) -> None:
        self._fetch_health = fetch_health
        self._kafka = kafka

    @property
    def stopping(self) -> bool:
        return self._buffers.stopping

    @property
    def assignment_ready(self) -> bool:
        return self._buffers.assignment_ready

    @property
    def retrying(self) -> Mapping[str, str]:
        """The agents that retry a micro-batch, and the cause of each."""
        return dict(self._retrying.causes)

    @property
    def paused(self) -> Mapping[str, str]:
        """The partitions that are not fetched, until a pause is over or a leader is back, and the cause of each."""
        kafka = self._kafka
        away = {
            str(tp): "no broker leads this partition"
            for tp in self._buffers.partitions
            if kafka is not None and not kafka.has_leader(tp)
        }
        fetches = {tp: state.fetch_pause for tp, state in self._buffers.partitions.items()}
        unread = {
            str(tp): f"nothing can be read at offset {pause.offset}: {pause.cause}"
            for tp, pause in fetches.items()
            if pause is not None and pause.times > 1
        }
        return away | unread | {str(tp): paused.cause for tp, paused in self._buffers.paused.items()}

    @property
    def errors(self) -> Mapping[str, str]:
        errors = {
            "positioning": self._fetch_health.position_error,
            "fetch": self._fetch_health.fetch_error,
            "client": self._group_health.no_contact,
            "connection": None if self._kafka is None else self._kafka.connection_problem(),
        }
        return {step: cause for step, cause in errors.items() if cause is not None}

    @property
    def refusal(self) -> str | None:
        """Why the consumer group does not accept this worker; None while it is a member, or joins."""
        return self._group_health.refusal

    def member_id(self) -> str | None:
        """Return the id of this worker in its group; empty or None while it is no member."""
        return self._group_health.member_id()

    @property
    def last_commit_at(self) -> float:
        """The time of the last commit by the monotonic clock; of the start before the first."""
        return self._buffers.last_commit_at

    @property
    def open_transactions(self) -> Mapping[str, str]:
        """The partitions that wait for an upstream transaction that stays open, and a description of each."""
        now = time.monotonic()
        described = {str(tp): describe(state.open_transaction, now) for tp, state in self._buffers.partitions.items()}
        return {partition: cause for partition, cause in described.items() if cause is not None}

    def lag(self) -> list[PartitionLag]:
        """Return the lag of each partition, by positions: by offsets, transaction markers would count as records."""
        return [self._lag(tp, state) for tp, state in sorted(self._buffers.partitions.items())]

    def _lag(self, tp: Partition, state: PartitionState) -> PartitionLag:
        topic, transaction = self._logical_topic(tp.topic), state.open_transaction
        if transaction is None:
            return PartitionLag(topic, tp.partition, state.lag)
        seconds = round(time.monotonic() - transaction.since, 1)
        return PartitionLag(topic, tp.partition, state.lag, transaction.records, seconds)
