"""The failure policy: which records are committed, dead-lettered or paused after which failures."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.micro_batch import take_records
from els_stream.db.errors import ClassifiedError, FailureClass
from els_stream.kafka.offsets import Partition, StoredOffset
from tests.support.consumer_fakes import FakeRecord, Outcome, ProcessorHarness

CONNECTION_LOST = ClassifiedError(FailureClass.TRANSIENT, "08006")


async def test_records_that_pass_are_committed_together(harness: ProcessorHarness) -> None:
    await harness.process(harness.batch("a", "b", "c"))
    assert (harness.attempts, harness.next_offset()) == ([["a", "b", "c"]], 3)


async def test_a_micro_batch_is_one_log_line(harness: ProcessorHarness) -> None:
    harness.failures = [CONNECTION_LOST]

    with capture_logs() as logged:
        await harness.process(harness.batch("a", "b"))

    (line,) = [line for line in logged if line["event"] == "handled"]
    assert (line["log_level"], line["agent"], line["records"]) == ("info", "agent", 2)
    assert line["outcomes"] == {Outcome.label: 2}
    assert line["next_offsets"] == {"alpha/0": 2}
    assert line["events"] == [{"value": "a"}, {"value": "b"}]


async def test_a_transient_failure_is_retried_unchanged(harness: ProcessorHarness) -> None:
    harness.failures = [CONNECTION_LOST] * 5
    await harness.process(harness.batch("a", "b"))
    assert harness.attempts == [["a", "b"]] * 6
    assert harness.retrying.causes == {}


async def test_a_retry_ends_when_its_partitions_are_closed(harness: ProcessorHarness) -> None:
    harness.failures = [CONNECTION_LOST] * 1_000_000
    processing = asyncio.create_task(harness.process(harness.batch("a")))
    await harness.until(lambda: bool(harness.retrying.causes))
    harness.buffers.close_all()
    await asyncio.wait_for(processing, 1)
    assert harness.processed == []


async def test_a_commit_whose_answer_was_lost_is_not_repeated(harness: ProcessorHarness) -> None:
    harness.commit_then_fail = True
    batch = harness.batch("a", "b")
    await harness.process(batch)
    assert (harness.processed, harness.next_offset()) == (["a", "b"], 2)
    assert not batch[0].state.active


async def test_records_that_another_owner_processed_are_left_to_it(harness: ProcessorHarness) -> None:
    batch = harness.batch("a", "b")
    harness.store.rows[Partition("alpha", 0)] = StoredOffset(1, None)
    await harness.process(batch)
    assert harness.processed == []
    assert not batch[0].state.active


async def test_poison_is_dead_lettered_with_the_next_record_that_passes(harness: ProcessorHarness) -> None:
    await harness.process(harness.batch("a", "bug 1", "bug 2", "b", "c"))
    assert harness.processed == ["a", "b", "c"]
    assert harness.dead_letters == [("bug 1", "unprocessable"), ("bug 2", "unprocessable")]
    assert (harness.next_offset(), harness.paused()) == (5, False)


async def test_poison_at_the_end_pauses_its_partition(harness: ProcessorHarness) -> None:
    await harness.process(harness.batch("a", "bug"))
    assert (harness.processed, harness.dead_letters, harness.next_offset()) == (["a"], [], 1)
    assert harness.paused()


async def test_poison_is_dead_lettered_once_it_failed_while_another_partition_got_on(
    harness: ProcessorHarness,
) -> None:
    await harness.process(harness.batch("bug"))
    await harness.process(harness.batch("bug"))
    await harness.process(harness.batch("fine", partition=1))
    await harness.process(harness.batch("bug"))
    await harness.process(harness.batch("bug"))
    assert harness.dead_letters == []
    await harness.process(harness.batch("fine", partition=1))
    await harness.process(harness.batch("bug"))
    assert (harness.dead_letters, harness.paused()) == ([("bug", "unprocessable")], False)


async def test_records_that_failed_while_a_server_was_ill_are_tried_again_when_another_passes(
    harness: ProcessorHarness,
) -> None:
    """The first attempt is that of the whole batch; then "a", "bug" and "b" fail alone."""
    harness.failures = [ClassifiedError(FailureClass.UNEXPECTED, "54000")] * 4
    await harness.process(harness.batch("a", "bug", "b", "c", "d"))
    assert harness.processed == ["a", "b", "c", "d"]
    assert harness.dead_letters == [("bug", "unprocessable")]
    assert (harness.next_offset(), harness.paused()) == (5, False)


async def test_a_server_that_is_ill_again_and_again_dead_letters_nothing_at_the_end_of_a_partition(
    harness: ProcessorHarness,
) -> None:
    for _ in range(2):
        harness.failures = [ClassifiedError(FailureClass.UNEXPECTED, "54000")] * 2
        await harness.process(harness.batch("a"))
        await harness.process(harness.batch("fine", partition=1))
    assert (harness.dead_letters, harness.paused()) == ([], True)
    await harness.process(harness.batch("a"))
    assert (harness.processed, harness.paused()) == (["fine", "fine", "a"], False)


async def test_a_bad_release_dead_letters_nothing(harness: ProcessorHarness) -> None:
    harness.bad_release = True
    for _ in range(3):
        await harness.process(harness.batch("a", "b", "c"))
    assert (harness.dead_letters, harness.next_offset(), harness.paused()) == ([], 0, True)
    harness.bad_release = False
    await harness.process(harness.batch("a", "b", "c"))
    assert (harness.processed, harness.paused()) == (["a", "b", "c"], False)


async def test_a_record_that_the_database_refuses_twice_is_dead_lettered(harness: ProcessorHarness) -> None:
    await harness.process(harness.batch("refuse"))
    assert harness.dead_letters == [("refuse", "database_refused")]
    assert harness.next_offset() == 1


async def test_a_refusal_after_an_unexpected_failure_needs_evidence_too(harness: ProcessorHarness) -> None:
    await harness.process(harness.batch("bug", "refuse"))
    assert (harness.dead_letters, harness.paused()) == ([], True)


async def test_a_refusal_before_an_unexpected_failure_needs_no_evidence(harness: ProcessorHarness) -> None:
    await harness.process(harness.batch("refuse", "bug"))
    assert (harness.dead_letters, harness.next_offset()) == ([("refuse", "database_refused")], 1)
    assert harness.paused()


async def test_failed_records_of_two_partitions_wait_for_one_that_passes(harness: ProcessorHarness) -> None:
    await harness.process((*harness.batch("bug 1"), *harness.batch("refuse", "a", partition=1)))
    assert harness.processed == ["a"]
    assert harness.dead_letters == [("bug 1", "unprocessable"), ("refuse", "database_refused")]
    assert (harness.next_offset(0), harness.next_offset(1)) == (1, 2)


async def test_a_refusal_that_passes_at_the_retry_is_no_failure(harness: ProcessorHarness) -> None:
    """Another worker was committing the same record."""
    harness.failures = [ClassifiedError(FailureClass.DATA_ERROR, "23505")]
    await harness.process(harness.batch("a", "b"))
    assert (harness.attempts, harness.dead_letters) == ([["a", "b"], ["a", "b"]], [])


async def test_a_slow_batch_is_split_down_to_the_slow_record(harness: ProcessorHarness) -> None:
    await harness.process(harness.batch("a", "b", "slow", "c"))
    assert harness.processed == ["a", "b"]
    assert (harness.next_offset(), harness.paused(), harness.dead_letters) == (2, True, [])


async def test_a_broken_schema_pauses_its_partition_and_no_other(harness: ProcessorHarness) -> None:
    batch = (*harness.batch("broken"), *harness.batch("a", partition=1))
    await harness.process(batch)
    assert (harness.processed, harness.paused(0), harness.paused(1)) == (["a"], True, False)
    assert harness.dead_letters == []


async def test_a_successor_waits_for_its_predecessor_outside_of_transactions(harness: ProcessorHarness) -> None:
    first = harness.batch("a")
    state = first[0].state
    state.receive([FakeRecord(state.next_fetch_offset, b"next")], "alpha")
    second = take_records([state], 10, 10_000)
    gate = asyncio.Event()
    order = BatchOrder(None, {state.partition})

    async def predecessor() -> None:
        await gate.wait()
        await harness.processor.process(first, order)
        order.end()

    before = asyncio.create_task(predecessor())
    after = asyncio.create_task(harness.processor.process(second, BatchOrder(order, {state.partition})))
    await harness.until(lambda: bool(harness.attempts))
    gate.set()
    await asyncio.wait_for(asyncio.gather(before, after), 1)
    assert harness.processed == ["a", "next"]
    assert state.active
