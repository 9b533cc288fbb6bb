from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pytest

from els_stream.kafka.consumer_group import Ownership
from els_stream.kafka.offsets import Partition, PartitionLag
from els_stream.observability.health import Code, Health, Reason, group_reasons

BACKLOG = [PartitionLag("content", 0, 7), PartitionLag("content", 1, 0)]

STALL_SECONDS = 60


@dataclass
class Worker:
    """All inputs of Health, and a clock that tests set."""

    now: float = 1000.0
    last_commit_at: float = 1000.0
    stopping: bool = False
    assignment_ready: bool = True
    refusal: str | None = None
    retrying: Mapping[str, str] = field(default_factory=dict)
    paused: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    open_transactions: Mapping[str, str] = field(default_factory=dict)
    backlog: list[PartitionLag] = field(default_factory=list)
    external: list[Reason] = field(default_factory=list)
    relay: Mapping[str, str] = field(default_factory=dict)

    def lag(self) -> Collection[PartitionLag]:
        return self.backlog

    def reasons(self) -> Collection[Reason]:
        return self.external


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def health(worker: Worker) -> Health:
    return Health(worker, worker, lambda: worker.relay, STALL_SECONDS, lambda: worker.now)


def codes(reasons: list[Reason]) -> list[Code]:
    return [reason.code for reason in reasons]


def test_a_worker_without_reasons_is_ready_and_alive(health: Health) -> None:
    assert health.not_ready() == health.not_alive() == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"stopping": True}, Code.STOPPING),
        ({"assignment_ready": False}, Code.REBALANCING),
        ({"refusal": "GroupMaxSizeReachedError"}, Code.NOT_IN_GROUP),
        ({"retrying": {"assign_content": "08006"}}, Code.RETRYING),
        ({"paused": {"content/3": "42P01"}}, Code.PAUSED),
        ({"errors": {"fetching": "UnsupportedCodecError"}}, Code.CONSUMER),
        ({"open_transactions": {"content/3": "open for 900 s"}}, Code.OPEN_TRANSACTION),
        ({"external": [Reason(Code.DATABASE, "ConnectionRefusedError")]}, Code.DATABASE),
        ({"relay": {"publisher": "KafkaTimeoutError"}}, Code.RELAY),
    ],
)
def test_each_reason_makes_a_worker_not_ready(
    worker: Worker, health: Health, change: dict[str, object], code: Code
) -> None:
    for name, value in change.items():
        setattr(worker, name, value)

    assert codes(health.not_ready()) == [code]


def test_all_reasons_are_returned(worker: Worker, health: Health) -> None:
    worker.stopping, worker.assignment_ready = True, False
    worker.paused = {"content/3": "42P01", "content/1": "42P01"}

    assert [reason.detail for reason in health.not_ready()][1:] == ["content/1: 42P01", "content/3: 42P01"]
    assert codes(health.not_ready()) == [Code.STOPPING, Code.PAUSED, Code.PAUSED]


def test_a_worker_with_a_backlog_and_no_progress_is_not_alive(worker: Worker, health: Health) -> None:
    worker.backlog = BACKLOG
    assert health.not_alive() == []

    worker.now += STALL_SECONDS - 1
    assert health.not_alive() == []
    worker.now += 1

    assert health.not_alive() == [Reason(Code.STALLED, "7 records wait, and nothing was committed for 60 s")]


def test_a_worker_with_a_backlog_and_progress_is_alive(worker: Worker, health: Health) -> None:
    worker.backlog = BACKLOG
    for _ in range(10):
        assert health.not_alive() == []
        worker.now += STALL_SECONDS - 1
        worker.last_commit_at = worker.now


def test_a_worker_is_alive_at_the_first_record_after_an_idle_night(worker: Worker, health: Health) -> None:
    worker.now += 12 * 3600
    worker.backlog = BACKLOG

    assert health.not_alive() == []


def test_an_idle_worker_stays_alive(worker: Worker, health: Health) -> None:
    for _ in range(3):
        worker.now += 3600
        assert health.not_alive() == []


@pytest.mark.parametrize(
    "change",
    [
        {"stopping": True},
        {"assignment_ready": False},
        {"retrying": {"assign_content": "08006"}},
        {"paused": {"content/3": "42P01"}},
        {"errors": {"positions": "KafkaTimeoutError"}},
    ],
)
def test_a_worker_without_progress_is_alive_if_a_reason_explains_it(
    worker: Worker, health: Health, change: dict[str, object]
) -> None:
    for name, value in change.items():
        setattr(worker, name, value)
    worker.backlog = BACKLOG

    for _ in range(3):
        assert health.not_alive() == []
        worker.now += 3600


def test_time_with_a_reason_does_not_count_as_a_stall(worker: Worker, health: Health) -> None:
    worker.backlog = BACKLOG
    health.not_alive()
    worker.retrying = {"assign_content": "08006"}
    worker.now += 3600
    health.not_alive()
    worker.retrying = {}

    assert health.not_alive() == []


OURS = frozenset({Partition("content", 0), Partition("content", 1)})


def test_a_group_that_owns_every_partition_gives_no_reason() -> None:
    assert group_reasons(Ownership("Stable", OURS, OURS)) == []


def test_partitions_without_an_owner_are_listed() -> None:
    reasons = group_reasons(Ownership("Stable", OURS, OURS - {Partition("content", 1)}))

    assert reasons == [Reason(Code.UNASSIGNED, "1 of 2: content/1")]


def test_many_partitions_without_an_owner_fit_into_a_line() -> None:
    many = frozenset(Partition("content", number) for number in range(100))

    (reason,) = group_reasons(Ownership("Stable", many, frozenset()))

    assert reason.detail.startswith("100 of 100: content/0, content/1")
    assert len(reason.detail) < 100


def test_a_group_that_others_join_is_no_reason() -> None:
    """A worker that waits for its own partitions says so itself."""
    assert group_reasons(Ownership("PreparingRebalance", OURS, frozenset())) == []


def test_a_group_without_members_owns_no_partition() -> None:
    assert codes(group_reasons(Ownership("Empty", OURS, frozenset()))) == [Code.UNASSIGNED]


def test_a_missing_topic_is_a_reason() -> None:
    assert codes(group_reasons(Ownership("Stable", OURS, OURS, missing=("registered",)))) == [Code.UNASSIGNED]


def test_a_missing_output_topic_is_a_reason_of_its_own() -> None:
    reasons = group_reasons(Ownership("Stable", OURS, OURS, missing_outputs=("slots",)))

    assert reasons == [Reason(Code.TOPIC_MISSING, "slots: its events wait in the outbox")]
