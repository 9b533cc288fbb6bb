from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pytest

from els_stream.kafka.consumer_group import Ownership
from els_stream.kafka.offsets import Partition, PartitionLag
from els_stream.observability.health import Code, Health, Reason, group_reasons

BACKLOG = [PartitionLag("content", 0, 7), PartitionLag("content", 1, 0)]

STALLED_SECONDS = 60


@dataclass
class Worker:
    """All that Health looks at, in one place, with a clock that stands still."""

    now: float = 1000.0
    last_commit_at: float = 1000.0
    stopping: bool = False
    assignment_ready: bool = True
    retrying: Mapping[str, str] = field(default_factory=dict)
    paused: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    backlog: list[PartitionLag] = field(default_factory=list)
    outside: list[Reason] = field(default_factory=list)
    relay: Mapping[str, str] = field(default_factory=dict)

    def lag(self) -> Collection[PartitionLag]:
        return self.backlog

    def reasons(self) -> Collection[Reason]:
        return self.outside


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def health(worker: Worker) -> Health:
    return Health(worker, worker, lambda: worker.relay, STALLED_SECONDS, lambda: worker.now)


def codes(reasons: list[Reason]) -> list[Code]:
    return [reason.code for reason in reasons]


def test_a_worker_that_declares_nothing_is_ready_and_alive(health: Health) -> None:
    assert health.not_ready() == health.not_alive() == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"stopping": True}, Code.STOPPING),
        ({"assignment_ready": False}, Code.REBALANCING),
        ({"retrying": {"assign_content": "08006"}}, Code.RETRYING),
        ({"paused": {"content/3": "42P01"}}, Code.PAUSED),
        ({"errors": {"fetching": "UnsupportedCodecError"}}, Code.CONSUMER),
        ({"outside": [Reason(Code.DATABASE, "away")]}, Code.DATABASE),
        ({"relay": {"publisher": "KafkaTimeoutError"}}, Code.RELAY),
    ],
)
def test_each_declared_trouble_turns_readiness_off(
    worker: Worker, health: Health, change: dict[str, object], code: Code
) -> None:
    for name, value in change.items():
        setattr(worker, name, value)

    assert codes(health.not_ready()) == [code]


def test_all_reasons_are_told_at_once(worker: Worker, health: Health) -> None:
    worker.stopping, worker.assignment_ready = True, False
    worker.paused = {"content/3": "42P01", "content/1": "42P01"}

    assert [reason.detail for reason in health.not_ready()][1:] == ["content/1: 42P01", "content/3: 42P01"]
    assert codes(health.not_ready()) == [Code.STOPPING, Code.PAUSED, Code.PAUSED]


def test_a_worker_with_a_backlog_and_no_progress_is_not_alive(worker: Worker, health: Health) -> None:
    worker.backlog = BACKLOG
    assert health.not_alive() == []

    worker.now += STALLED_SECONDS - 1
    assert health.not_alive() == []
    worker.now += 1

    assert health.not_alive() == [Reason(Code.STALLED, "7 records wait, and nothing was committed for 60 s")]


def test_progress_keeps_a_worker_with_a_backlog_alive(worker: Worker, health: Health) -> None:
    worker.backlog = BACKLOG
    for _ in range(10):
        assert health.not_alive() == []
        worker.now += STALLED_SECONDS - 1
        worker.last_commit_at = worker.now


def test_the_first_record_after_an_idle_night_finds_a_worker_alive(worker: Worker, health: Health) -> None:
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
def test_what_explains_that_nothing_moves_keeps_a_worker_alive(
    worker: Worker, health: Health, change: dict[str, object]
) -> None:
    for name, value in change.items():
        setattr(worker, name, value)
    worker.backlog = BACKLOG

    for _ in range(3):
        assert health.not_alive() == []
        worker.now += 3600


def test_time_explained_does_not_count_against_a_worker_afterwards(worker: Worker, health: Health) -> None:
    worker.backlog = BACKLOG
    health.not_alive()
    worker.retrying = {"assign_content": "08006"}
    worker.now += 3600
    health.not_alive()
    worker.retrying = {}

    assert health.not_alive() == []


OURS = frozenset({Partition("content", 0), Partition("content", 1)})


def test_a_group_that_owns_every_partition_is_no_reason() -> None:
    assert group_reasons(Ownership("Stable", OURS, OURS)) == []


def test_partitions_that_no_living_member_owns_are_named() -> None:
    reasons = group_reasons(Ownership("Stable", OURS, OURS - {Partition("content", 1)}))

    assert reasons == [Reason(Code.UNASSIGNED, "1 of 2: content/1")]


def test_many_unowned_partitions_fit_a_line() -> None:
    many = frozenset(Partition("content", number) for number in range(100))

    (reason,) = group_reasons(Ownership("Stable", many, frozenset()))

    assert reason.detail.startswith("100 of 100: content/0, content/1")
    assert len(reason.detail) < 100


def test_a_group_in_a_rebalance_says_so_and_not_that_nobody_owns_anything() -> None:
    assert codes(group_reasons(Ownership("PreparingRebalance", OURS, frozenset()))) == [Code.REBALANCING]


def test_a_group_without_members_owns_nothing() -> None:
    assert codes(group_reasons(Ownership("Empty", OURS, frozenset()))) == [Code.UNASSIGNED]


def test_a_topic_that_does_not_exist_has_no_partitions_and_is_still_missed() -> None:
    assert codes(group_reasons(Ownership("Stable", OURS, OURS, missing=("registered",)))) == [Code.UNASSIGNED]
