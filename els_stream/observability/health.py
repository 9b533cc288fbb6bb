"""The rules for readiness and liveness of a worker, without I/O.

Not ready: the worker can't process events now, for the given reasons. Not alive: restart it. A restart does not help
against an outage, so a worker without progress stays alive as long as a known reason explains it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Final, Protocol

from els_stream.kafka.consumer_group import GroupRefused, Ownership, Unreachable
from els_stream.kafka.offsets import PartitionLag

MAX_LISTED_PARTITIONS: Final = 5
REBALANCING_STATES: Final = frozenset({"PreparingRebalance", "CompletingRebalance"})


class Code(StrEnum):
    """Codes of reasons. Their values are stable: alerts may rely on them, but not on the detail."""

    BROKER = "broker_unreachable"
    DATABASE = "database_unreachable"
    PAUSED = "partition_paused"
    CONSUMER = "consumer_failing"
    NOT_AUTHORIZED = "not_authorized"
    NOT_IN_GROUP = "not_in_group"
    OPEN_TRANSACTION = "open_transaction"
    REBALANCING = "rebalancing"
    RELAY = "relay_failing"
    RETRYING = "retrying"
    SCHEMA = "schema_outdated"
    STALLED = "stalled"
    STOPPING = "stopping"
    TOPIC_MISSING = "topic_missing"
    UNKNOWN = "unknown"
    UNASSIGNED = "partitions_unassigned"


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason why a worker is not ready or not alive; `detail` is one line for people."""

    code: Code
    detail: str


class ConsumerState(Protocol):
    """The state of the consumer. The mappings are from an agent, a partition or a component to the cause."""

    @property
    def stopping(self) -> bool: ...
    @property
    def assignment_ready(self) -> bool:
        """Whether partitions are assigned: false until the first assignment and during every rebalance."""
        ...

    @property
    def refusal(self) -> str | None:
        """Why the consumer group does not accept this worker."""
        ...

    @property
    def retrying(self) -> Mapping[str, str]: ...
    @property
    def paused(self) -> Mapping[str, str]: ...
    @property
    def errors(self) -> Mapping[str, str]: ...
    @property
    def open_transactions(self) -> Mapping[str, str]: ...
    @property
    def last_commit_at(self) -> float:
        """Time of the last commit, by the monotonic clock."""
        ...

    def lag(self) -> Collection[PartitionLag]: ...


class ExternalChecks(Protocol):
    """The last results of the checks of database and broker."""

    def reasons(self) -> Collection[Reason]: ...


class Health:
    """Readiness and liveness of one worker.

    `relay` returns the failing components of the relay, none for a worker without one. After `stall_seconds` without
    progress and without a reason the worker is not alive.
    """

    def __init__(
        self,
        consumer: ConsumerState,
        external: ExternalChecks,
        relay: Callable[[], Mapping[str, str]],
        stall_seconds: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._consumer = consumer
        self._external = external
        self._relay = relay
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._waiting_since: float | None = None

    def not_ready(self) -> list[Reason]:
        """Return the reasons why this worker is not ready; empty if it can process events."""
        return [
            *self._declared(),
            *_reasons(Code.OPEN_TRANSACTION, self._consumer.open_transactions),
            *self._external.reasons(),
            *_reasons(Code.RELAY, self._relay()),
        ]

    def not_alive(self) -> list[Reason]:
        """Return one reason if records to read wait, none was committed for `stall_seconds`, and nothing explains it.

        The time counts from the first probe that saw records waiting, or from a later commit: after an idle night the
        last commit is long ago.
        """
        waiting = sum(lag.records for lag in self._consumer.lag())
        if not waiting or self._declared():
            self._waiting_since = None
            return []
        now = self._clock()
        if self._waiting_since is None:
            self._waiting_since = now
        idle = now - max(self._consumer.last_commit_at, self._waiting_since)
        if idle < self._stall_seconds:
            return []
        return [Reason(Code.STALLED, f"{waiting} records wait, and nothing was committed for {idle:.0f} s")]

    def codes(self) -> frozenset[Code]:
        """Return the codes of all reasons why this worker is not ready or not alive."""
        return frozenset(reason.code for reason in (*self.not_ready(), *self.not_alive()))

    def _declared(self) -> list[Reason]:
        consumer = self._consumer
        reasons = []
        if consumer.stopping:
            reasons.append(Reason(Code.STOPPING, "this worker is stopping"))
        elif not consumer.assignment_ready:
            reasons.append(Reason(Code.REBALANCING, "this worker waits for its partitions"))
        if consumer.refusal is not None:
            reasons.append(Reason(Code.NOT_IN_GROUP, consumer.refusal))
        reasons += _reasons(Code.RETRYING, consumer.retrying)
        reasons += _reasons(Code.PAUSED, consumer.paused)
        return reasons + _reasons(Code.CONSUMER, consumer.errors)


def group_reasons(described: Ownership | GroupRefused | Unreachable, member_id: str | None = None) -> list[Reason]:
    """Return the reasons why the consumer group does not own every partition of its topics, or misses this worker.

    While members join or leave, each knows for itself whether it has its partitions.

    `member_id` is the worker's id; the group is not searched for it if it is empty or None.
    """
    if isinstance(described, Unreachable):
        return [Reason(Code.BROKER, described.cause)]
    if isinstance(described, GroupRefused):
        return [Reason(Code.NOT_AUTHORIZED, f"group {described.group}")]
    reasons = [Reason(Code.NOT_AUTHORIZED, f"topic {topic}") for topic in described.refused]
    reasons += [Reason(Code.UNASSIGNED, f"{topic}: there is no such topic") for topic in described.missing]
    outputs = described.missing_outputs
    reasons += [Reason(Code.TOPIC_MISSING, f"{topic}: its events wait in the outbox") for topic in outputs]
    unassigned = sorted(described.partitions - described.owned)
    if unassigned and described.state not in REBALANCING_STATES:
        named = ", ".join(map(str, unassigned[:MAX_LISTED_PARTITIONS])) + (
            ", ..." if len(unassigned) > MAX_LISTED_PARTITIONS else ""
        )
        reasons.append(Reason(Code.UNASSIGNED, f"{len(unassigned)} of {len(described.partitions)}: {named}"))
    if member_id and described.state not in REBALANCING_STATES and member_id not in described.members:
        reasons.append(Reason(Code.NOT_IN_GROUP, "the broker has removed this worker from the group"))
    return reasons


def _reasons(code: Code, causes: Mapping[str, str]) -> list[Reason]:
    return [Reason(code, f"{subject}: {cause}") for subject, cause in sorted(causes.items())]
