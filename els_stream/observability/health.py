"""Is this worker ready, and is it alive: rules over what it knows of itself, without I/O.

Not ready means: send no one here, and look why. Not alive means: restart it. An outage must never read as the second,
so whatever explains that nothing moves keeps a worker alive.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Final, Protocol

from els_stream.kafka.consumer_group import Ownership, Unreachable
from els_stream.kafka.offsets import PartitionLag

MAX_NAMED: Final = 5
REBALANCING_STATES: Final = frozenset({"PreparingRebalance", "CompletingRebalance"})


class Code(StrEnum):
    """Alerts and tests may rely on these, whatever the detail says."""

    BROKER = "broker_unreachable"
    DATABASE = "database_unreachable"
    PAUSED = "partition_paused"
    CONSUMER = "consumer_failing"
    REBALANCING = "rebalancing"
    RELAY = "relay_failing"
    RETRYING = "retrying"
    SCHEMA = "schema_outdated"
    STALLED = "stalled"
    STOPPING = "stopping"
    UNKNOWN = "unknown"
    UNASSIGNED = "partitions_unassigned"


@dataclass(frozen=True, slots=True)
class Reason:
    code: Code
    detail: str


class ConsumerState(Protocol):
    """What the intake declares. Every mapping says why: agent, partition or part of the intake to cause."""

    @property
    def stopping(self) -> bool: ...
    @property
    def assignment_ready(self) -> bool:
        """False until the first assignment, and in every rebalance."""
        ...

    @property
    def retrying(self) -> Mapping[str, str]: ...
    @property
    def paused(self) -> Mapping[str, str]: ...
    @property
    def errors(self) -> Mapping[str, str]: ...
    @property
    def last_commit_at(self) -> float:
        """By the monotonic clock: when something was last committed."""
        ...

    def lag(self) -> Collection[PartitionLag]: ...


class ExternalChecks(Protocol):
    """What is known of the servers, fresh or said to be stale."""

    def reasons(self) -> Collection[Reason]: ...


class Health:
    """`relay` gives the parts of the relay that are not working; a worker without one gives none.

    What stands still for `stalled_after` seconds is not alive.
    """

    def __init__(
        self,
        intake: ConsumerState,
        outside: ExternalChecks,
        relay: Callable[[], Mapping[str, str]],
        stalled_after: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._intake = intake
        self._outside = outside
        self._relay = relay
        self._stalled_after = stalled_after
        self._clock = clock
        self._waiting_since: float | None = None

    def not_ready(self) -> list[Reason]:
        """Empty when events flow, or would if there were any."""
        return [*self._declared(), *self._outside.reasons(), *_each(Code.RELAY, self._relay())]

    def not_alive(self) -> list[Reason]:
        """One reason when nothing moves that should, and nothing explains it.

        Time counts from the first probe that saw records waiting: after an idle night the last commit is long ago. What
        waited and is gone by the next probe was committed, so an idle moment between two probes needs no notice.
        """
        waiting = sum(part.records for part in self._intake.lag())
        if not waiting or self._declared():
            self._waiting_since = None
            return []
        now = self._clock()
        if self._waiting_since is None:
            self._waiting_since = now
        still = now - max(self._intake.last_commit_at, self._waiting_since)
        if still < self._stalled_after:
            return []
        return [Reason(Code.STALLED, f"{waiting} records wait, and nothing was committed for {still:.0f} s")]

    def _declared(self) -> list[Reason]:
        intake = self._intake
        reasons = []
        if intake.stopping:
            reasons.append(Reason(Code.STOPPING, "this worker was asked to stop"))
        elif not intake.assignment_ready:
            reasons.append(Reason(Code.REBALANCING, "this worker waits for its partitions"))
        reasons += _each(Code.RETRYING, intake.retrying)
        reasons += _each(Code.PAUSED, intake.paused)
        return reasons + _each(Code.CONSUMER, intake.errors)


def group_reasons(described: Ownership | Unreachable) -> list[Reason]:
    """Say what keeps the consumer group from owning every partition of its topics; empty when nothing does."""
    if isinstance(described, Unreachable):
        return [Reason(Code.BROKER, described.cause)]
    reasons = [Reason(Code.UNASSIGNED, f"{topic}: there is no such topic") for topic in described.missing]
    unowned = sorted(described.partitions - described.owned)
    if described.state in REBALANCING_STATES:
        reasons.append(Reason(Code.REBALANCING, f"the group is {described.state}"))
    elif unowned:
        named = ", ".join(map(str, unowned[:MAX_NAMED])) + (", ..." if len(unowned) > MAX_NAMED else "")
        reasons.append(Reason(Code.UNASSIGNED, f"{len(unowned)} of {len(described.partitions)}: {named}"))
    return reasons


def _each(code: Code, causes: Mapping[str, str]) -> list[Reason]:
    return [Reason(code, f"{what}: {cause}") for what, cause in sorted(causes.items())]
