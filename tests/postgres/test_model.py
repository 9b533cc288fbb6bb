"""Two workers, a few batches, and everything that Kafka and crashes can do to them, against the model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import make_url

from els_stream.contracts import topics
from els_stream.database import Limits, create_engine
from els_stream.dev.databases import create_database, drop_database
from els_stream.dev.servers import Addresses
from tests.postgres import letters as write
from tests.postgres.findings import expected_findings, read_findings
from tests.postgres.invariants import broken
from tests.postgres.model import MAX_PARKED, Letter, Model
from tests.postgres.school import School, handlers_by_topic
from tests.postgres.staging import Worker, worker

CLASS = "class-9b"
BATCHES = ["9b", "7a", "night-school"]
DATABASE = "els_model"
# Nothing may time out between two steps of the machine: it waits for locks on purpose.
PATIENT = Limits(statement=60, lock=60, idle_in_transaction=60)
EMPTY = """
    TRUNCATE batch_essay_trackers, essay_states, batch_excess_content, batch_validation_failures, batch_pending_events,
             event_outbox, dead_letters CASCADE
"""

batch_ids = st.sampled_from(BATCHES)
numbers = st.integers(0, 5)
classes = st.sampled_from([None, CLASS])


@dataclass
class Desk:
    """A worker between the two ends of its transaction, with the letters that it has in hand."""

    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    worker: Worker | None = None
    letters: Sequence[Letter] = ()
    labels: list[str] = field(default_factory=list)
    waiting: asyncio.Task[list[str]] | None = None

    @property
    def may_finish(self) -> bool:
        return self.worker is not None and self.waiting is None


class Domain(RuleBasedStateMachine):
    """Letters are written, and delivered any number of times by two workers, which commit, crash or are killed."""

    runner: ClassVar[asyncio.Runner]
    school: ClassVar[School]
    letters: Bundle[Letter] = Bundle("letters")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.desks = [Desk(), Desk()]

    @initialize(target=letters, essays=st.integers(1, 4), class_id=classes)
    def first_day_of_term(self, essays: int, class_id: str | None) -> MultipleResults[Letter]:
        registrations = [write.registration(self.school, batch_id, essays, class_id) for batch_id in BATCHES]
        contents = [write.content(self.school, batch_id, n, n) for n in range(essays) for batch_id in BATCHES]
        return multiple(*registrations, *contents)

    @rule(target=letters, batch_id=batch_ids, essays=st.integers(1, 4), class_id=classes)
    def register(self, batch_id: str, essays: int, class_id: str | None) -> Letter:
        return write.registration(self.school, batch_id, essays, class_id)

    @rule(target=letters, batch_id=batch_ids, number=numbers, other=numbers)
    def provide(self, batch_id: str, number: int, other: int) -> Letter:
        return write.content(self.school, batch_id, number, other)

    @rule(target=letters, batch_id=batch_ids, number=numbers)
    def fail(self, batch_id: str, number: int) -> Letter:
        return write.failure(self.school, batch_id, number)

    @rule(
        target=letters, batch_id=batch_ids, essays=st.integers(0, 5), right_class=st.sampled_from([True, True, False])
    )
    def associate(self, batch_id: str, essays: int, *, right_class: bool) -> Letter:
        return write.associations(self.school, batch_id, essays, CLASS if right_class else "class-7a")

    @rule(target=letters, topic=st.sampled_from(topics.INPUT_TOPICS))
    def scribble(self, topic: str) -> Letter:
        return write.poison(self.school, topic)

    @precondition(lambda self: any(desk.worker is None for desk in self.desks))
    @rule(chosen=st.lists(letters, min_size=1, max_size=8))
    def deliver(self, chosen: list[Letter]) -> None:
        """A micro-batch of one topic, up to the point before its commit; it waits where the other worker is at it."""
        desk, other = sorted(self.desks, key=lambda desk: desk.worker is not None)
        desk.letters = [letter for letter in chosen if letter.record.topic == chosen[0].record.topic]
        desk.worker = self.runner.run(desk.stack.enter_async_context(worker(self.school)))
        records = [letter.record for letter in desk.letters]
        if other.worker is not None and self.locked_by(desk) & self.locked_by(other):
            desk.waiting = self.runner.run(desk.worker.blocked(*records))
        else:
            desk.labels = self.runner.run(desk.worker.apply(*records))

    @precondition(lambda self: any(desk.may_finish for desk in self.desks))
    @rule(later=st.booleans(), how=st.sampled_from(["commit", "commit", "commit", "crash", "killed"]))
    def finish(self, how: str, *, later: bool) -> None:
        """A commit makes the letters count; whoever waited goes on, whatever the end was."""
        desk = [desk for desk in self.desks if desk.may_finish][-1 if later else 0]
        assert desk.worker is not None
        if how == "commit":
            self.runner.run(desk.worker.commit())
            assert desk.labels == [self.model.handle(letter) for letter in desk.letters]
        elif how == "crash":
            self.runner.run(desk.worker.rollback())
        else:
            self.runner.run(self.kill(desk.worker))
        self.clear(desk)
        for waiting in self.desks:
            if waiting.waiting is not None:
                waiting.labels = self.runner.run(arrived(waiting.waiting))
                waiting.waiting = None

    @rule()
    def relay(self) -> None:
        self.runner.run(self.school.execute("DELETE FROM event_outbox"))
        self.model.relay()

    @invariant()
    def the_tables_say_what_the_model_says(self) -> None:
        self.runner.run(self.compare())

    def teardown(self) -> None:
        for desk in sorted(self.desks, key=lambda desk: not desk.may_finish):
            if desk.waiting is not None:
                self.runner.run(arrived(desk.waiting))
            self.clear(desk)
        self.runner.run(self.school.execute(EMPTY))

    def locked_by(self, desk: Desk) -> set[str]:
        """Tracker rows, and the places of dead letters that were not buried before."""
        unread = {letter.source for letter in desk.letters if letter.kind == "poison"} - self.model.buried.keys()
        return {letter.batch_id for letter in desk.letters if letter.batch_id} | set(map(str, unread))

    def clear(self, desk: Desk) -> None:
        self.runner.run(desk.stack.aclose())
        desk.worker, desk.letters, desk.labels, desk.waiting = None, (), [], None

    async def kill(self, victim: Worker) -> None:
        await self.school.execute("SELECT pg_terminate_backend(:pid, 5000)", pid=victim.pid)
        await victim.conn.invalidate()

    async def compare(self) -> None:
        async with self.school.engine.connect() as conn:
            assert await broken(conn) == []
            assert await read_findings(conn) == expected_findings(self.model)


async def arrived(waiting: asyncio.Task[list[str]]) -> list[str]:
    return await waiting


@contextmanager
def stage(addresses: Addresses, template: str) -> Iterator[type[Domain]]:
    """The machine with a loop, an engine and a database that serve all its runs."""
    with asyncio.Runner() as loop:
        address = loop.run(create_database(addresses.database_url, DATABASE, template))
        url = make_url(address).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
        engine = create_engine(url, PATIENT, name="els test")

        class Staged(Domain):
            runner = loop
            school = School(engine=engine, handlers=handlers_by_topic(MAX_PARKED))

        try:
            yield Staged
        finally:
            loop.run(engine.dispose())
            loop.run(drop_database(addresses.database_url, DATABASE))


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
    play(addresses, template, runs=25, steps=50)


@pytest.mark.nightly
@pytest.mark.timeout(4 * 3600)
def test_the_same_for_an_hour(addresses: Addresses, template: str) -> None:
    play(addresses, template, runs=1000, steps=100)
