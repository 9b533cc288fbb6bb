"""Random deliveries, repeats, crashes, purges and relays by two workers, compared with the model after each step."""

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
from tests.support import model_records as create
from tests.support.batch_findings import expected_findings, read_findings
from tests.support.batch_harness import BatchHarness, handlers_by_topic
from tests.support.invariants import broken_invariants
from tests.support.model import MAX_PENDING, Kind, Model, ModelRecord
from tests.support.staged_workers import Worker, worker

CLASS = "class-9b"
BATCHES = ["9b", "7a", "night-school"]
# Nothing may time out between two steps of the machine: it waits for locks on purpose.
PATIENT = Limits(statement=60, lock=60, idle_in_transaction=60)
EMPTY = """
    TRUNCATE batch_essay_trackers, essay_states, batch_excess_content, batch_validation_failures, batch_pending_events,
             event_outbox, outbox_segments, dead_letters, purge_log CASCADE
"""

AT_ONCE = PurgePlan(older_than_days=0, pause_seconds=0)
ENDS = ["commit"] * 6 + ["stay open"] * 4 + ["crash", "be killed"]
Way = tuple[Strategy, bool]
WAYS: list[Way] = [(strategy, locks) for strategy in Strategy for locks in (False, True)]
KINDS: list[Kind] = ["registration", "content", "content", "failure", "associations"]
PER_DELIVERY = {"registration": 1, "associations": 2}
registrations = st.fixed_dictionaries(
    {batch_id: st.tuples(st.integers(1, 6), st.sampled_from([None, CLASS, CLASS])) for batch_id in BATCHES}
)


@dataclass(frozen=True)
class Delivery:
    """A micro-batch: new events as (batch, number, other number), and repeats of earlier events.

    `way` is how its worker claims slots; during a rollout workers differ.
    """

    kind: Kind
    specs: list[tuple[str, int, int]]
    repeats: list[int]
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
    """A worker within its transaction, and the events that it applies."""

    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    worker: Worker | None = None
    events: Sequence[ModelRecord] = ()
    labels: list[str] = field(default_factory=list)
    waiting: asyncio.Task[list[str]] | None = None

    @property
    def may_finish(self) -> bool:
        return self.worker is not None and self.waiting is None


class Domain(RuleBasedStateMachine):
    """Delivers events any number of times to two workers, which commit, crash or are killed."""

    runner: ClassVar[asyncio.Runner]
    harness: ClassVar[BatchHarness]
    handlers: ClassVar[Mapping[Way, Mapping[str, DomainHandler]]]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.sessions = [Session(), Session()]
        self.created: list[ModelRecord] = []

    @initialize(registrations=registrations)
    def start(self, registrations: dict[str, tuple[int, str | None]]) -> None:
        self.registrations = registrations

    # One rule, because Hypothesis disables some of several rules in most runs, and all of these are needed in each.
    @rule(
        then=st.sampled_from(["deliver"] * 5 + ["finish"] * 3 + ["relay", "refuse", "purge"]),
        delivery=deliveries,
        later=st.booleans(),
    )
    def step(self, then: str, delivery: Delivery, *, later: bool) -> None:
        finishable = [session for session in self.sessions if session.may_finish]
        if then == "relay":
            self.runner.run(self.harness.empty_outbox())
            self.model.relay()
        elif then == "refuse":  # later events of the batches follow the refused ones
            self.runner.run(self.harness.move_aside())
        elif then == "purge" and not any(
            session.waiting for session in self.sessions
        ):  # a waiting worker has some of its locks
            self.runner.run(purge_guests(self.harness.engine, AT_ONCE, stop=asyncio.Event(), progress=lambda _: None))
            self.model.purge(
                {batch_id for session in self.sessions if session.worker for batch_id in self.locked_by(session)}
            )
        elif finishable and (then == "finish" or all(session.worker for session in self.sessions)):
            self.finish(finishable[-1 if later else 0], "commit" if delivery.end == "stay open" else delivery.end)
        else:
            self.deliver(delivery)

    def deliver(self, delivery: Delivery) -> None:
        """Apply a micro-batch of one topic; it waits where the other worker has locked one of its batches."""
        session, other = sorted(self.sessions, key=lambda session: session.worker is not None)
        new = [self.create(delivery.kind, *spec) for spec in delivery.specs[: PER_DELIVERY.get(delivery.kind)]]
        self.created += new
        same_topic = [event for event in self.created if event.record.topic == new[0].record.topic]
        session.events = [*new, *(same_topic[number % len(same_topic)] for number in delivery.repeats)]
        harness = replace(self.harness, handlers=self.handlers[delivery.way])
        session.worker = self.runner.run(session.stack.enter_async_context(worker(harness)))
        records = [event.record for event in session.events]
        if other.worker is not None and self.locked_by(session) & self.locked_by(other):
            session.waiting = self.runner.run(session.worker.blocked(*records))
            return
        session.labels = self.runner.run(session.worker.apply(*records))
        if delivery.end != "stay open":
            self.finish(session, delivery.end)

    @invariant()
    def tables_equal_the_model(self) -> None:
        self.runner.run(self.compare())

    def teardown(self) -> None:
        try:
            for session in sorted(self.sessions, key=lambda session: not session.may_finish):
                if session.waiting is not None:
                    self.runner.run(arrived(session.waiting))
                self.clear(session)
        finally:  # or the next run would begin with these rows
            self.runner.run(self.harness.execute(EMPTY))

    def create(self, kind: Kind, batch_id: str, number: int, other: int) -> ModelRecord:
        essays, class_id = self.registrations[batch_id]
        if (number, other) == (7, 7):
            return create.invalid(self.harness, topic_of(kind))
        match kind:
            case "registration":  # sometimes another than before
                return create.registration(self.harness, batch_id, essays + (number == other == 3), class_id)
            case "content":
                return create.content(self.harness, batch_id, number, other if number + other > 10 else number)
            case "failure":
                return create.failure(self.harness, batch_id, number)
            case _:  # sometimes with an unknown essay or another class
                return create.associations(
                    self.harness, batch_id, number % (essays + 2), "class-7a" if not other else CLASS
                )

    def finish(self, session: Session, end: str) -> None:
        """End the transaction; only a commit reaches the model. A worker that waited goes on in each case."""
        assert session.worker is not None
        if end == "commit":
            self.runner.run(session.worker.commit())
            assert session.labels == [self.model.handle(event) for event in session.events]
        elif end == "crash":
            self.runner.run(session.worker.rollback())
        else:
            self.runner.run(self.kill(session.worker))
        self.clear(session)
        for waiting in self.sessions:
            if waiting.waiting is not None:
                waiting.labels = self.runner.run(arrived(waiting.waiting))
                waiting.waiting = None

    def locked_by(self, session: Session) -> set[str]:
        """Return the batch ids of the locked trackers, and the positions of new dead letters."""
        unread = {event.source for event in session.events if event.kind == "invalid"} - self.model.dead_letters.keys()
        return {event.batch_id for event in session.events if event.batch_id} | set(map(str, unread))

    def clear(self, session: Session) -> None:
        self.runner.run(session.stack.aclose())
        session.worker, session.events, session.labels, session.waiting = None, (), [], None

    async def kill(self, victim: Worker) -> None:
        await self.harness.execute("SELECT pg_terminate_backend(:pid, 5000)", pid=victim.pid)
        await victim.conn.invalidate()

    async def compare(self) -> None:
        async with self.harness.engine.connect() as conn:
            assert await broken_invariants(conn) == []
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
def machine_on(addresses: Addresses, template: str) -> Iterator[type[Domain]]:
    """Yield the machine with a loop, an engine and a database for all its runs."""
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


def run_machine(addresses: Addresses, template: str, *, runs: int, steps: int) -> None:
    with machine_on(addresses, template) as machine:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=runs,
                stateful_step_count=steps,
                suppress_health_check=list(HealthCheck),
            ),
        )


@pytest.mark.timeout(600)
def test_tables_equal_the_model_after_any_deliveries_and_crashes(addresses: Addresses, template: str) -> None:
    run_machine(addresses, template, runs=25, steps=50)


@pytest.mark.nightly
@pytest.mark.timeout(4 * 3600)
def test_tables_equal_the_model_for_an_hour(addresses: Addresses, template: str) -> None:
    run_machine(addresses, template, runs=1000, steps=100)
