"""The failure policy, each rule as a story of records and what became of them."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.partition_state import take
from els_stream.db.errors import ClassifiedError, FailureClass
from els_stream.kafka.offsets import Partition, StoredOffset
from tests.support.consumer_fakes import Fetched, Outcome, Stage

ALONE = BatchOrder()


async def test_what_passes_is_committed_as_a_whole(stage: Stage) -> None:
    await stage.settler.settle(stage.batch("a", "b", "c"), ALONE)
    assert (stage.tried, stage.next_offset()) == ([["a", "b", "c"]], 3)


async def test_a_micro_batch_is_one_line_of_the_log(stage: Stage) -> None:
    stage.script = [ClassifiedError(FailureClass.TRANSIENT, "08006")]

    with capture_logs() as logged:
        await stage.settler.settle(stage.batch("a", "b"), ALONE)

    (line,) = [line for line in logged if line["event"] == "handled"]
    assert (line["log_level"], line["agent"], line["records"]) == ("info", "agent", 2)
    assert line["outcomes"] == {Outcome.label: 2}
    assert line["next_offsets"] == {"alpha/0": 2}
    assert line["events"] == [{"value": "a"}, {"value": "b"}]


async def test_what_might_work_later_is_tried_again_as_it_is(stage: Stage) -> None:
    stage.script = [ClassifiedError(FailureClass.TRANSIENT, "08006")] * 5
    await stage.settler.settle(stage.batch("a", "b"), ALONE)
    assert stage.tried == [["a", "b"]] * 6
    assert stage.retries.causes == {}


async def test_a_retry_ends_when_its_parts_die(stage: Stage) -> None:
    stage.script = [ClassifiedError(FailureClass.TRANSIENT, "08006")] * 1_000_000
    settling = asyncio.create_task(stage.settler.settle(stage.batch("a"), ALONE))
    await stage.until(lambda: bool(stage.retries.causes))
    stage.lane.clear()
    await asyncio.wait_for(settling, 1)
    assert stage.done == []


async def test_the_echo_of_our_own_commit_is_not_done_again(stage: Stage) -> None:
    stage.commit_then_fail = True
    batch = stage.batch("a", "b")
    await stage.settler.settle(batch, ALONE)
    assert (stage.done, stage.next_offset()) == (["a", "b"], 2)
    assert not batch[0].part.live


async def test_what_another_owner_handled_is_dropped(stage: Stage) -> None:
    batch = stage.batch("a", "b")
    stage.ledger.rows[Partition("alpha", 0)] = StoredOffset(1, None)
    await stage.settler.settle(batch, ALONE)
    assert stage.done == []
    assert not batch[0].part.live


async def test_poison_is_buried_with_the_next_that_passes(stage: Stage) -> None:
    await stage.settler.settle(stage.batch("a", "bug 1", "bug 2", "b", "c"), ALONE)
    assert stage.done == ["a", "b", "c"]
    assert stage.buried == [("bug 1", "unprocessable"), ("bug 2", "unprocessable")]
    assert (stage.next_offset(), stage.held()) == (5, False)


async def test_poison_at_the_end_is_held_and_nothing_is_written_for_it(stage: Stage) -> None:
    await stage.settler.settle(stage.batch("a", "bug"), ALONE)
    assert (stage.done, stage.buried, stage.next_offset(), stage.held()) == (["a"], [], 1, True)


async def test_held_poison_is_buried_once_another_partition_got_on(stage: Stage) -> None:
    await stage.settler.settle(stage.batch("bug"), ALONE)
    await stage.settler.settle(stage.batch("bug"), ALONE)
    assert stage.buried == []
    await stage.settler.settle(stage.batch("fine", partition=1), ALONE)
    await stage.settler.settle(stage.batch("bug"), ALONE)
    assert (stage.buried, stage.held()) == ([("bug", "unprocessable")], False)


async def test_a_bad_release_buries_nothing(stage: Stage) -> None:
    stage.bad_release = True
    for _ in range(3):
        await stage.settler.settle(stage.batch("a", "b", "c"), ALONE)
    assert (stage.buried, stage.next_offset(), stage.held()) == ([], 0, True)
    stage.bad_release = False
    await stage.settler.settle(stage.batch("a", "b", "c"), ALONE)
    assert (stage.done, stage.held()) == (["a", "b", "c"], False)


async def test_what_the_database_refuses_alone_and_again_is_buried_without_proof(stage: Stage) -> None:
    await stage.settler.settle(stage.batch("refuse"), ALONE)
    assert stage.buried == [("refuse", "database_refused")]
    assert stage.next_offset() == 1


async def test_a_refusal_after_a_suspect_needs_proof_like_it(stage: Stage) -> None:
    await stage.settler.settle(stage.batch("bug", "refuse"), ALONE)
    assert (stage.buried, stage.held()) == ([], True)


async def test_a_refusal_that_passes_the_second_time_was_somebody_elses_commit(stage: Stage) -> None:
    stage.script = [ClassifiedError(FailureClass.DATA_ERROR, "23505")]
    await stage.settler.settle(stage.batch("a", "b"), ALONE)
    assert (stage.tried, stage.buried) == ([["a", "b"], ["a", "b"]], [])


async def test_a_slow_statement_is_halved_down_to_the_slow_record_which_is_held(stage: Stage) -> None:
    await stage.settler.settle(stage.batch("a", "b", "slow", "c"), ALONE)
    assert stage.done == ["a", "b"]
    assert (stage.next_offset(), stage.held(), stage.buried) == (2, True, [])


async def test_a_broken_schema_holds_its_partition_and_no_other(stage: Stage) -> None:
    batch = (*stage.batch("broken"), *stage.batch("a", partition=1))
    await stage.settler.settle(batch, ALONE)
    assert (stage.done, stage.held(0), stage.held(1), stage.buried) == (["a"], True, False, [])


async def test_a_successor_waits_for_its_predecessor_outside_of_transactions(stage: Stage) -> None:
    first = stage.batch("a")
    part = first[0].part
    part.receive([Fetched(part.expected, b"next")], "alpha")
    second = take([part], 10, 10_000)
    gate = asyncio.Event()

    async def predecessor() -> None:
        await gate.wait()
        await stage.settler.settle(first, ALONE)

    before = asyncio.create_task(predecessor())
    after = asyncio.create_task(stage.settler.settle(second, BatchOrder(before)))
    await stage.until(lambda: bool(stage.tried))
    gate.set()
    await asyncio.wait_for(asyncio.gather(before, after), 1)
    assert stage.done == ["a", "next"]
    assert part.live
