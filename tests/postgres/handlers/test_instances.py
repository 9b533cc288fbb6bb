"""Several processes with a connection pool each fill one batch at the same time, under each strategy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import pytest

from els_stream.config.setting_types import CHECKOUT
from els_stream.domain.claim_strategy import Strategy
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness
from tests.support.service_instance import Job, SeenOutcome

INSTANCES = 3
ESSAYS = 20


@dataclass(frozen=True)
class Instances:
    """The processes of all tests here."""

    instances: Sequence[subprocess.Popen[str]]

    def provision(
        self, database: str, claim_mode: tuple[Strategy, bool], contents: Sequence[bytes]
    ) -> list[SeenOutcome]:
        """Divide the contents among the instances, which process them all at once; return the outcomes."""
        strategy, advisory_locks = claim_mode
        for number, instance in enumerate(self.instances):
            values = [content.decode() for content in contents[number::INSTANCES]]
            send_line(instance, json.dumps(asdict(Job(database, strategy, advisory_locks, values))))
        assert [receive_line(instance) for instance in self.instances] == ["ready"] * INSTANCES
        for instance in self.instances:
            send_line(instance, "go")
        return [SeenOutcome(**seen) for instance in self.instances for seen in json.loads(receive_line(instance))]


def send_line(instance: subprocess.Popen[str], line: str) -> None:
    assert instance.stdin is not None
    instance.stdin.write(line + "\n")
    instance.stdin.flush()


def receive_line(instance: subprocess.Popen[str]) -> str:
    assert instance.stdout is not None
    line = instance.stdout.readline()
    assert line, f"an instance ended with {instance.wait()}"
    return line.rstrip("\n")


@pytest.fixture(scope="module")
def instances() -> Iterator[Instances]:
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.support.service_instance"]
        started = [
            subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(INSTANCES)
        ]
        for instance in started:
            stack.enter_context(instance)  # closes its pipes, which ends it, and waits for it
        yield Instances(started)


async def test_cross_instance_slot_assignment(
    harness: BatchHarness, instances: Instances, database: str, claim_mode: tuple[Strategy, bool]
) -> None:
    await harness.together(
        harness.registration("storm-of-one", essays=6), harness.registration("a-class-set", essays=6)
    )

    same = instances.provision(database, claim_mode, [make.content("storm-of-one", number=0)] * 20)
    different = instances.provision(
        database, claim_mode, [make.content("a-class-set", number=number) for number in range(6)]
    )

    assert sorted(seen.label for seen in same) == ["already_assigned"] * 19 + ["assigned"]
    assert [seen.created for seen in same].count(True) == 1
    assert len({seen.essay_id for seen in same}) == 1
    assert await harness.counts("storm-of-one") == ("open", 5, 1, 0, 0)
    assert [(seen.label, seen.created) for seen in different] == [("assigned", True)] * 6
    assert {seen.essay_id for seen in different} == set(make.essay_ids(6, "a-class-set"))
    assert await harness.kinds("a-class-set") == [*["assigned"] * 6, "completed"]


async def test_high_concurrency_slot_assignment_performance(
    harness: BatchHarness, instances: Instances, database: str, claim_mode: tuple[Strategy, bool]
) -> None:
    """Speed is measured by the benchmark; here only the result counts."""
    await harness.together(harness.registration(essays=ESSAYS))

    seen = instances.provision(database, claim_mode, [make.content(number=number) for number in range(2 * ESSAYS)])

    assert sorted(one.label for one in seen) == ["assigned"] * ESSAYS + ["excess"] * ESSAYS
    assert {one.essay_id for one in seen if one.created} == set(make.essay_ids(ESSAYS))
    assert await harness.counts() == ("completed", 0, ESSAYS, 0, 0)
    assert await harness.kinds() == [*["assigned"] * ESSAYS, "completed", *["excess"] * ESSAYS]
