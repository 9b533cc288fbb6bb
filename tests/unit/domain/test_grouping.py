from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from els_stream.domain.batch import BatchEvent, BatchState
from tests.support import factories as make
from tests.support.batch_builders import confirmation, content, failure, open_batch
from tests.support.rule_harness import RuleHarness

CLASS = "class-9b"
numbers = st.integers(0, 5)


@st.composite
def contents(draw: st.DrawFn) -> BatchEvent:
    """Uploads and texts are drawn apart, so that they meet in every way."""
    return content(draw(numbers), text_storage_id=f"text-{draw(numbers)}")


@st.composite
def confirmations(draw: st.DrawFn) -> BatchEvent:
    """Draw associations of up to five essays, more than a small batch has; some are of another class."""
    associations = [
        make.association(
            essay_id,
            f"student-{draw(numbers)}",
            validation_method=draw(st.sampled_from(["human", "auto", "timeout"])),
            validated_at=(make.NOON + timedelta(minutes=draw(numbers))).isoformat(),
        )
        for essay_id in draw(st.lists(st.sampled_from(make.essay_ids(5)), max_size=4))
    ]
    return confirmation(associations=associations, class_id=draw(st.sampled_from([CLASS, CLASS, "class-7a"])))


events = st.lists(st.one_of(contents(), contents(), st.builds(failure, numbers), confirmations()), max_size=14)
shapes = st.builds(
    lambda essays, class_id: (essays, class_id), st.integers(1, 5), st.sampled_from([None, CLASS, CLASS])
)


def new_harness(shape: tuple[int, str | None]) -> RuleHarness:
    essays, class_id = shape
    return RuleHarness(open_batch(essays, class_id=class_id))


@given(shapes, events, st.lists(st.integers(1, 6), min_size=14, max_size=14))
def test_a_micro_batch_gives_the_same_result_as_its_events_one_at_a_time(
    shape: tuple[int, str | None], arriving: list[BatchEvent], sizes: list[int]
) -> None:
    one_by_one, in_groups = new_harness(shape), new_harness(shape)
    alone = [label for event in arriving for label in one_by_one.handle([event])]
    together: list[str] = []
    for size in sizes:
        group = arriving[len(together) :][:size]
        together += in_groups.handle(group)

    assert together == alone
    assert asdict(in_groups) == asdict(one_by_one)


@given(shapes, events)
def test_slots_are_never_lost_and_no_fact_is_repeated(
    shape: tuple[int, str | None], arriving: list[BatchEvent]
) -> None:
    whole = new_harness(shape)
    for event in arriving:
        whole.handle([event])
        batch = whole.batch
        assert batch.free + batch.filled + batch.failed == batch.expected == shape[0]
        assert batch.filled == sum(text is not None for _, text in whole.slots.values())
        assert batch.failed == sum(text is None for _, text in whole.slots.values())
        assert (batch.free > 0) is (batch.state is BatchState.OPEN)

    texts = [text for _, text in whole.slots.values() if text is not None]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & whole.excess.keys()
    assert len(set(whole.facts)) == len(whole.facts)


@given(shapes, events)
def test_redelivery_of_everything_changes_nothing(shape: tuple[int, str | None], arriving: list[BatchEvent]) -> None:
    whole = new_harness(shape)
    whole.handle(arriving)
    before = deepcopy(whole)

    again = whole.handle(arriving)

    assert asdict(whole) == asdict(before)
    assert not {"assigned", "excess", "slot_failed", "took_over_failed_slot", "associations_confirmed"} & set(again)
