"""Two workers, a few batches, and everything that Kafka and crashes can do to them, against the model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import make_url

from els_stream.db.engine import Limits, create_engine
from els_stream.domain.claim_strategy import Strategy
from els_stream.embedded.databases import create_database, drop_database
from els_stream.embedded.servers import Addresses
from els_stream.events import topics
from els_stream.handlers.event_handler import DomainHandler
from els_stream.maintenance.purge import PurgePlan, purge_guests
from tests.support import model_records as write
from tests.support.batch_findings import expected_findings, read_findings
from tests.support.batch_harness import BatchHarness, handlers_by_topic
from tests.support.invariants import broken
from tests.support.model import MAX_PENDING, Kind, Model, ModelRecord
from tests.support.staged_workers import Worker, worker

CLASS = "class-9b"
BATCHES = ["9b", "7a", "night-school"]
# Nothing may time out between two steps of the machine: it waits for locks on purpose.
PATIENT = Limits(statement=60, lock=60, idle_in_transaction=60)
EMPTY = """
    TRUNCATE batch_essay_trackers, essay_states, batch_excess_content, batch_validation_failures, batch_pending_events,
             event_outbox, dead_letters, purge_log CASCADE
"""

AT_ONCE = PurgePlan(older_than_days=0, pause_seconds=0)
ENDS = ["commit"] * 6 + ["stay open"] * 4 + ["crash", "be killed"]
Way = tuple[Strategy, bool]
WAYS: list[Way] = [(strategy, locks) for strategy in Strategy for locks in (False, True)]
KINDS: list[Kind] = ["registration", "content", "content", "failure", "associations"]
PER_DELIVERY = {"registration": 1, "associations": 2}
shapes = st.fixed_dictionaries(
    {batch_id: st.tuples(st.integers(1, 6), st.sampled_from([None, CLASS, CLASS])) for batch_id in BATCHES}
)


@dataclass(frozen=True)
class Delivery:
    """A micro-batch to be: new letters, each a batch and two numbers whose meaning its kind knows, and old ones.

    `way` is how its worker is told to claim slots: during a rollout they differ.
    """

    kind: Kind
    specs: list[tuple[str, int, int]]
    again: list[int]
    end: str
    way: Way


deliveries = st.builds(
    Delivery,
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.sampled_from(BATCHES), st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=8),
    st.lists(st.integers(0, 99), max_size=4),
    st.sampled_from(ENDS),
    st.sampled_from(WAYS),
)


@dataclass
class Session:
    """A worker between the two ends of its transaction, with the letters that it has in hand."""

    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    worker: Worker | None = None
    letters: Sequence[ModelRecord] = ()
    labels: list[str] = field(default_factory=list)
    waiting: asyncio.Task[list[str]] | None = None

    @property
    def may_finish(self) -> bool:
        return self.worker is not None and self.waiting is None


class Domain(RuleBasedStateMachine):
    """Letters are written, and delivered any number of times by two workers, which commit, crash or are killed."""

    runner: ClassVar[asyncio.Runner]
    harness: ClassVar[BatchHarness]
    handlers: ClassVar[Mapping[Way, Mapping[str, DomainHandler]]]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.desks = [Session(), Session()]
        self.written: list[ModelRecord] = []

    @initialize(shapes=shapes)
    def first_day_of_term(self, shapes: dict[str, tuple[int, str | None]]) -> None:
        self.shapes = shapes

    # One rule: Hypothesis leaves out a rule or two of many in most of its runs, and each of these is needed in all.
    @rule(
        then=st.sampled_from(["deliver"] * 5 + ["let go"] * 3 + ["relay", "purge"]),
        delivery=deliveries,
        later=st.booleans(),
    )
    def something_happens(self, then: str, delivery: Delivery, *, later: bool) -> None:
        ready = [desk for desk in self.desks if desk.may_finish]
        if then == "relay":
            self.runner.run(self.harness.execute("DELETE FROM event_outbox"))
            self.model.relay()
        elif then == "purge" and not any(desk.waiting for desk in self.desks):  # who waits has some locks, not all
            self.runner.run(purge_guests(self.harness.engine, AT_ONCE, stop=asyncio.Event(), progress=lambda _: None))
            self.model.purge({batch_id for desk in self.desks if desk.worker for batch_id in self.locked_by(desk)})
        elif ready and (then == "let go" or all(desk.worker for desk in self.desks)):
            self.finish(ready[-1 if later else 0], "commit" if delivery.end == "stay open" else delivery.end)
        else:
            self.deliver(delivery)

    def deliver(self, delivery: Delivery) -> None:
        """A micro-batch of one topic, new letters and old; it waits where the other worker is at its batches."""
        desk, other = sorted(self.desks, key=lambda desk: desk.worker is not None)
        new = [self.write(delivery.kind, *spec) for spec in delivery.specs[: PER_DELIVERY.get(delivery.kind)]]
        self.written += new
        alike = [letter for letter in self.written if letter.record.topic == new[0].record.topic]
        desk.letters = [*new, *(alike[number % len(alike)] for number in delivery.again)]
        harness = replace(self.harness, handlers=self.handlers[delivery.way])
        desk.worker = self.runner.run(desk.stack.enter_async_context(worker(harness)))
        records = [letter.record for letter in desk.letters]
        if other.worker is not None and self.locked_by(desk) & self.locked_by(other):
            desk.waiting = self.runner.run(desk.worker.blocked(*records))
            return
        desk.labels = self.runner.run(desk.worker.apply(*records))
        if delivery.end != "stay open":
            self.finish(desk, delivery.end)

    @invariant()
    def the_tables_say_what_the_model_says(self) -> None:
        self.runner.run(self.compare())

    def teardown(self) -> None:
        for desk in sorted(self.desks, key=lambda desk: not desk.may_finish):
            if desk.waiting is not None:
                self.runner.run(arrived(desk.waiting))
            self.clear(desk)
        self.runner.run(self.harness.execute(EMPTY))

    def write(self, kind: Kind, batch_id: str, number: int, other: int) -> ModelRecord:
        essays, class_id = self.shapes[batch_id]
        if (number, other) == (7, 7):
            return write.poison(self.harness, topic_of(kind))
        match kind:
            case "registration":  # now and then not what it was
                return write.registration(self.harness, batch_id, essays + (number == other == 3), class_id)
            case "content":
                return write.content(self.harness, batch_id, number, other if number + other > 10 else number)
            case "failure":
                return write.failure(self.harness, batch_id, number)
            case _:  # at times of an essay too many, or of another class
                return write.associations(
                    self.harness, batch_id, number % (essays + 2), "class-7a" if not other else CLASS
                )

    def finish(self, desk: Session, end: str) -> None:
        """A commit makes the letters count; whoever waited goes on, whatever the end was."""
        assert desk.worker is not None
        if end == "commit":
            self.runner.run(desk.worker.commit())
            assert desk.labels == [self.model.handle(letter) for letter in desk.letters]
        elif end == "crash":
            self.runner.run(desk.worker.rollback())
        else:
            self.runner.run(self.kill(desk.worker))
        self.clear(desk)
        for waiting in self.desks:
            if waiting.waiting is not None:
                waiting.labels = self.runner.run(arrived(waiting.waiting))
                waiting.waiting = None

    def locked_by(self, desk: Session) -> set[str]:
        """Tracker rows, and the places of dead letters that were not buried before."""
        unread = {letter.source for letter in desk.letters if letter.kind == "poison"} - self.model.buried.keys()
        return {letter.batch_id for letter in desk.letters if letter.batch_id} | set(map(str, unread))

    def clear(self, desk: Session) -> None:
        self.runner.run(desk.stack.aclose())
        desk.worker, desk.letters, desk.labels, desk.waiting = None, (), [], None

    async def kill(self, victim: Worker) -> None:
        await self.harness.execute("SELECT pg_terminate_backend(:pid, 5000)", pid=victim.pid)
        await victim.conn.invalidate()

    async def compare(self) -> None:
        async with self.harness.engine.connect() as conn:
            assert await broken(conn) == []
            assert await read_findings(conn) == expected_findings(self.model)


def topic_of(kind: Kind) -> str:
    return {
        "registration": topics.BATCH_REGISTERED,
        "content": topics.CONTENT_PROVISIONED,
        "failure": topics.VALIDATION_FAILED,
    }.get(kind, topics.ASSOCIATIONS_CONFIRMED)


async def arrived(waiting: asyncio.Task[list[str]]) -> list[str]:
    return await waiting


@contextmanager
def stage(addresses: Addresses, template: str) -> Iterator[type[Domain]]:
    """The machine with a loop, an engine and a database that serve all its runs."""
    with asyncio.Runner() as loop:
        name = f"model_{uuid4().hex[:12]}"
        address = loop.run(create_database(addresses.database_url, name, template))
        url = make_url(address).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
        engine = create_engine(url, PATIENT, name="els test")

        ways = {
            (strategy, locks): handlers_by_topic(MAX_PENDING, strategy=strategy, advisory_locks=locks)
            for strategy, locks in WAYS
        }

        class Staged(Domain):
            runner = loop
            harness = BatchHarness(engine=engine)
            handlers = ways

        try:
            yield Staged
        finally:
            loop.run(engine.dispose())
            loop.run(drop_database(addresses.database_url, name))


def play(addresses: Addresses, template: str, *, runs: int, steps: int) -> None:
    with stage(addresses, template) as machine:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=runs,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


@pytest.mark.timeout(600)
def test_whatever_arrives_and_whoever_crashes_the_tables_say_what_the_model_says(
    addresses: Addresses, template: str
) -> None:
    play(addresses, template, runs=40, steps=50)


@pytest.mark.nightly
@pytest.mark.timeout(4 * 3600)
def test_the_same_for_an_hour(addresses: Addresses, template: str) -> None:
    play(addresses, template, runs=1000, steps=100)
