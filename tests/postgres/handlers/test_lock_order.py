"""Every transaction locks the tracker row of a batch first, so none deadlock, and none adds data that a purge misses.

The outbox is emptied in these tests, so only the checks of `els verify` are used, which allow that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.domain.purge_results import Erased
from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.maintenance.erasure import erase_batch, erase_student
from els_stream.maintenance.replay import NotReplayable, fail_replay, replay
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness
from tests.support.invariants import broken_invariants
from tests.support.staged_workers import Worker, worker

CLASS = "class-9b"
LOCK = "SELECT FROM batch_essay_trackers WHERE batch_id = :batch FOR UPDATE"
PAYLOADS = "SELECT id FROM dead_letters WHERE num_nonnulls(value, key) > 0"


@pytest.fixture
async def harness(engine: AsyncEngine) -> AsyncIterator[BatchHarness]:
    yield BatchHarness(engine=engine)
    async with engine.connect() as conn:
        assert await broken_invariants(conn) == []


@pytest.fixture
async def operator(harness: BatchHarness) -> AsyncIterator[Worker]:
    async with worker(harness) as one:
        yield one


@pytest.fixture
async def eraser(harness: BatchHarness) -> AsyncIterator[Worker]:
    async with worker(harness) as another:
        yield another


@pytest.fixture
async def dead_letter_id(harness: BatchHarness) -> int:
    """Return a dead letter of a complete GUEST batch without outbox rows."""
    await harness.one_by_one(harness.registration(essays=1), harness.content(0), harness.associations(1))
    await harness.empty_outbox()
    (row,) = await harness.rows("SELECT id FROM dead_letters")
    return int(row.id)


@pytest.mark.parametrize("failed", [False, True])
async def test_a_replay_that_meets_an_erasure_waits_and_restores_nothing(
    harness: BatchHarness, operator: Worker, eraser: Worker, dead_letter_id: int, *, failed: bool
) -> None:
    await eraser.execute(LOCK, batch=make.BATCH)
    again = (
        fail_replay(operator.conn, dead_letter_id, DeadLetterReason.UNPROCESSABLE, "ZeroDivisionError")
        if failed
        else replay(operator.conn, harness.handlers, dead_letter_id)
    )
    waiting = await operator.blocked_in(again)

    assert isinstance(await erase_batch(eraser.conn, make.BATCH, dry_run=False), Erased)
    await eraser.commit()

    assert await waiting == NotReplayable("its payload was removed")
    await operator.commit()
    assert await harness.rows(PAYLOADS) == []


async def test_an_erasure_that_meets_a_replay_erases_its_second_dead_letter_too(
    harness: BatchHarness, operator: Worker, eraser: Worker, dead_letter_id: int
) -> None:
    await replay(operator.conn, harness.handlers, dead_letter_id)
    erasing = await eraser.blocked_in(erase_batch(eraser.conn, make.BATCH, dry_run=False))

    await operator.commit()

    result = await erasing
    assert isinstance(result, Erased)
    assert result.removed.dead_letters == 2
    await eraser.commit()
    assert await harness.rows(PAYLOADS) == []


@pytest.mark.usefixtures("dead_letter_id")
async def test_an_event_during_the_erasure_of_its_batch_is_a_dead_letter(
    harness: BatchHarness, operator: Worker, eraser: Worker
) -> None:
    await eraser.execute(LOCK, batch=make.BATCH)
    waiting = await operator.blocked(harness.content(1))

    await erase_batch(eraser.conn, make.BATCH, dry_run=False)
    await eraser.commit()

    assert await waiting == ["dead_letter"]
    await operator.commit()
    assert (await harness.reasons())[-1] == "batch_purged"


async def test_the_erasure_of_a_student_and_a_claim_do_not_deadlock(
    harness: BatchHarness, operator: Worker, eraser: Worker
) -> None:
    """The claim has the second slot and wants the first; an erasure without the tracker lock would have the first."""
    await harness.one_by_one(harness.registration(essays=2, class_id=CLASS), harness.associations(2))
    async with worker(harness) as other:
        await other.execute("SELECT FROM essay_states WHERE essay_id = :first FOR UPDATE", first=make.essay_ids(1)[0])
        assert await operator.apply(harness.content(0)) == ["assigned"]
    erasing = await eraser.blocked_in(erase_student(eraser.conn, "student-pippi", [make.BATCH]))

    assert await operator.apply(harness.content(1)) == ["assigned"]
    await operator.commit()

    assert await erasing == 2
    await eraser.commit()
    assert await harness.counts() == ("completed", 0, 2, 0, 0)


async def test_equal_dead_letters_in_opposite_order_at_two_workers_do_not_deadlock(
    harness: BatchHarness, operator: Worker, eraser: Worker
) -> None:
    invalid = [harness.record(topics.CONTENT_PROVISIONED, b"Dear %d," % number) for number in range(3)]
    async with worker(harness) as other:
        await other.apply(invalid[1])
        forward = await operator.blocked(*invalid)
        backward = await eraser.blocked(*invalid[::-1])

    assert await forward == ["dead_letter"] * 3
    await operator.commit()
    assert await backward == ["dead_letter"] * 3
    await eraser.commit()
    assert await harness.reasons() == ["not_json"] * 3
