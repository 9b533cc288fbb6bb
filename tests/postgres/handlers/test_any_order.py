"""The result does not depend on the order of events, their repeats, or their division into micro-batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from els_stream.events.records import RawRecord
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness

CLASS = "class-9b"
on_postgres = settings(
    max_examples=40,
    # The database is the test's for all examples: each works on batches of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@dataclass(frozen=True)
class BatchPlan:
    """A batch with no more uploads than slots: numbers below `contents` are contents, the next ones failures."""

    essays: int
    contents: int
    failures: int
    regular: bool
    confirmed: int

    def records(self, harness: BatchHarness, batch_id: str) -> list[RawRecord]:
        class_id = CLASS if self.regular else None
        return [
            harness.registration(batch_id, self.essays, class_id=class_id),
            *harness.contents(range(self.contents), batch_id),
            *(harness.failure(self.contents + number, batch_id) for number in range(self.failures)),
            *(harness.associations([essay], batch_id) for essay in make.essay_ids(self.confirmed, batch_id)),
        ]

    @property
    def end(self) -> tuple[str, int, int, int, int]:
        free = self.essays - self.contents - self.failures
        if free:
            return "open", free, self.contents, self.failures, 0
        done = not self.regular or self.contents == 0 or self.confirmed > 0
        return ("completed" if done else "content_complete"), 0, self.contents, self.failures, 0

    @property
    def published(self) -> Counter[str]:
        complete, done = self.end[1] == 0, self.end[0] == "completed"
        once = {
            "errors": complete and self.failures > 0,
            "completed": complete,
            "ready": self.regular and done and self.contents > 0,
        }
        return Counter({"assigned": self.contents} | {kind: 1 for kind, true in once.items() if true})


@st.composite
def batch_plans(draw: st.DrawFn) -> BatchPlan:
    essays = draw(st.integers(1, 6))
    contents = draw(st.integers(0, essays))
    failures = draw(st.integers(0, essays - contents))
    regular = draw(st.booleans())
    confirmed = draw(st.integers(0, essays)) if regular else 0
    return BatchPlan(essays, contents, failures, regular, confirmed)


def micro_batches(records: Sequence[RawRecord], sizes: Sequence[int]) -> list[list[RawRecord]]:
    """Divide the records, in their order, into micro-batches of one topic and these sizes."""
    cut: list[list[RawRecord]] = []
    sizes = [*sizes, 1]
    for _, group in groupby(records, key=lambda record: record.topic):
        rest = list(group)
        while rest:
            size = sizes[len(cut) % len(sizes)]
            cut.append(rest[:size])
            rest = rest[size:]
    return cut


@on_postgres
@given(st.lists(batch_plans(), min_size=1, max_size=3), st.data())
async def test_the_same_events_in_any_order_and_grouping_end_in_the_same_state(
    harness: BatchHarness, plans: list[BatchPlan], data: st.DataObject
) -> None:
    run = uuid4()
    batches = {f"term-{run}-{number}": plan for number, plan in enumerate(plans)}
    records = [record for batch_id, plan in batches.items() for record in plan.records(harness, batch_id)]
    repeated = data.draw(st.lists(st.sampled_from(records), max_size=8), label="delivered again")
    arriving = data.draw(st.permutations(records + repeated), label="order")
    sizes = data.draw(st.lists(st.integers(1, 7), max_size=10), label="sizes")

    for micro_batch in micro_batches(arriving, sizes):
        await harness.together(*micro_batch)

    for batch_id, plan in batches.items():
        assert await harness.counts(batch_id) == plan.end
        assert Counter(await harness.kinds(batch_id)) == plan.published


@on_postgres
@given(batch_plans(), st.data())
async def test_a_micro_batch_gives_the_same_result_as_its_events_one_at_a_time(
    harness: BatchHarness, plan: BatchPlan, data: st.DataObject
) -> None:
    """There may be more uploads than slots; uploads and texts are combined in every way."""
    numbers = st.integers(0, 7)
    drawn = data.draw(st.lists(st.tuples(st.sampled_from("ccf"), numbers, numbers), max_size=14), label="arriving")
    sizes = data.draw(st.lists(st.integers(2, 7), min_size=1, max_size=6), label="sizes")
    seen = []
    for batch_id, cuts in ((f"alone-{uuid4()}", [1]), (f"together-{uuid4()}", sizes)):
        await harness.together(harness.registration(batch_id, plan.essays, class_id=CLASS if plan.regular else None))
        records = [
            harness.failure(number, batch_id)
            if kind == "f"
            else harness.content(number, batch_id, text_storage_id=f"text-{text}")
            for kind, number, text in drawn
        ]
        labels = [label for one in micro_batches(records, cuts) for label in await harness.together(*one)]
        slots = [(slot.text_storage_id, slot.current_status) for slot in await harness.slots(batch_id)]
        published = [(event.sequence, event.kind) for event in await harness.outbox_events(batch_id)]
        seen.append((labels, await harness.counts(batch_id), slots, published))

    assert seen[0] == seen[1]
