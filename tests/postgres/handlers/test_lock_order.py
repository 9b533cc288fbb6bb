"""A batch's tracker row first, whatever is wanted of it: then nobody waits in a circle, and nothing slips past a purge.

The relay of this school has sent everything, so the checks are the service's own, which know that it does.
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
from tests.support.invariants import broken
from tests.support.staged_workers import Worker, worker

CLASS = "class-9b"
HOLD = "SELECT FROM batch_essay_trackers WHERE batch_id = :batch FOR UPDATE"
PAYLOADS = "SELECT id FROM dead_letters WHERE num_nonnulls(value, key) > 0"


@pytest.fixture
async def harness(engine: AsyncEngine) -> AsyncIterator[BatchHarness]:
    yield BatchHarness(engine=engine)
    async with engine.connect() as conn:
        assert await broken(conn) == []


@pytest.fixture
async def operator(harness: BatchHarness) -> AsyncIterator[Worker]:
    async with worker(harness) as one:
        yield one


@pytest.fixture
async def eraser(harness: BatchHarness) -> AsyncIterator[Worker]:
    async with worker(harness) as another:
        yield another


@pytest.fixture
async def letter(harness: BatchHarness) -> int:
    """Of a batch that is complete and told of: students for a GUEST."""
    await harness.one_by_one(harness.registration(essays=1), harness.content(0), harness.associations(1))
    await harness.execute("DELETE FROM event_outbox")
    (row,) = await harness.rows("SELECT id FROM dead_letters")
    return int(row.id)


@pytest.mark.parametrize("given_up", [False, True])
async def test_a_replay_that_meets_an_erasure_waits_and_restores_nothing(
    harness: BatchHarness, operator: Worker, eraser: Worker, letter: int, *, given_up: bool
) -> None:
    await eraser.execute(HOLD, batch=make.BATCH)
    again = (
        fail_replay(operator.conn, letter, DeadLetterReason.UNPROCESSABLE, "ZeroDivisionError")
        if given_up
        else replay(operator.conn, harness.handlers, letter)
    )
    waiting = await operator.blocked_in(again)

    assert isinstance(await erase_batch(eraser.conn, make.BATCH, dry_run=False), Erased)
    await eraser.commit()

    assert await waiting == NotReplayable("its payload was removed")
    await operator.commit()
    assert await harness.rows(PAYLOADS) == []


async def test_an_erasure_that_meets_a_replay_erases_its_second_dead_letter_too(
    harness: BatchHarness, operator: Worker, eraser: Worker, letter: int
) -> None:
    await replay(operator.conn, harness.handlers, letter)
    erasing = await eraser.blocked_in(erase_batch(eraser.conn, make.BATCH, dry_run=False))

    await operator.commit()

    result = await erasing
    assert isinstance(result, Erased)
    assert result.removed.dead_letters == 2
    await eraser.commit()
    assert await harness.rows(PAYLOADS) == []


@pytest.mark.usefixtures("letter")
async def test_an_event_during_the_erasure_of_its_batch_is_a_dead_letter(
    harness: BatchHarness, operator: Worker, eraser: Worker
) -> None:
    await eraser.execute(HOLD, batch=make.BATCH)
    waiting = await operator.blocked(harness.content(1))

    await erase_batch(eraser.conn, make.BATCH, dry_run=False)
    await eraser.commit()

    assert await waiting == ["dead_letter"]
    await operator.commit()
    assert (await harness.reasons())[-1] == "batch_purged"


async def test_the_erasure_of_a_student_and_a_claim_do_not_deadlock(
    harness: BatchHarness, operator: Worker, eraser: Worker
) -> None:
    """The claim has the second slot and wants the first; who goes by the rows has the first and wants the second."""
    await harness.one_by_one(harness.registration(essays=2, class_id=CLASS), harness.associations(2))
    async with worker(harness) as other:
        await other.execute("SELECT FROM essay_states WHERE essay_id = :first FOR UPDATE", first=make.essay_ids(1)[0])
        assert await operator.apply(harness.content(0)) == ["assigned"]
    forgetting = await eraser.blocked_in(erase_student(eraser.conn, "student-pippi", [make.BATCH]))

    assert await operator.apply(harness.content(1)) == ["assigned"]
    await operator.commit()

    assert await forgetting == 2
    await eraser.commit()
    assert await harness.counts() == ("completed", 0, 2, 0, 0)


async def test_equal_dead_letters_in_opposite_order_at_two_workers_do_not_deadlock(
    harness: BatchHarness, operator: Worker, eraser: Worker
) -> None:
    letters = [harness.record(topics.CONTENT_PROVISIONED, b"Dear %d," % number) for number in range(3)]
    async with worker(harness) as other:
        await other.apply(letters[1])
        forth = await operator.blocked(*letters)
        back = await eraser.blocked(*letters[::-1])

    assert await forth == ["dead_letter"] * 3
    await operator.commit()
    assert await back == ["dead_letter"] * 3
    await eraser.commit()
    assert await harness.reasons() == ["not_json"] * 3
