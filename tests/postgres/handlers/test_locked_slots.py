"""A locked slot is waited for, and after the timeout tried again: locked does not mean full."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from els_stream.db.errors import FailureClass, classify
from els_stream.errors import InventoryMismatch
from els_stream.queries import trackers
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness
from tests.support.staged_workers import Worker, worker

LOCK_ALL_SLOTS = "SELECT essay_id FROM essay_states WHERE batch_id = :batch FOR UPDATE"


@pytest.fixture
async def spellchecker(harness: BatchHarness) -> AsyncIterator[Worker]:
    """Return other code that has locked every slot of the batch."""
    await harness.together(harness.registration(essays=1))
    async with worker(harness) as other:
        await other.execute(LOCK_ALL_SLOTS, batch=make.BATCH)
        yield other


async def test_a_full_micro_batch_waits_for_a_slot_that_other_code_locked(
    harness: BatchHarness, spellchecker: Worker
) -> None:
    async with worker(harness) as us:
        waiting = await us.blocked(*harness.contents([0, 1]))

        await spellchecker.rollback()

        assert await waiting == ["assigned", "excess"]
        await us.commit()
    assert (await harness.slots())[0].text_storage_id == "text-batch-of-9b-00000"


async def test_a_slot_locked_for_too_long_is_a_timeout_and_never_excess(
    harness: BatchHarness, spellchecker: Worker
) -> None:
    async with worker(harness) as us:
        await us.execute("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(DBAPIError) as caught:
            await us.apply(harness.content(0))
        await us.rollback()

    assert sqlstate(caught.value) == "55P03"
    assert classify(caught.value).failure_class is FailureClass.TRANSIENT
    assert await harness.counts() == ("open", 1, 0, 0, 0)
    await spellchecker.rollback()
    assert await harness.together(harness.content(0)) == ["assigned"]


async def test_a_slot_that_other_code_touched_meanwhile_is_still_free(
    harness: BatchHarness, spellchecker: Worker
) -> None:
    async with worker(harness) as us:
        waiting = await us.blocked(harness.content(0))

        await spellchecker.execute("UPDATE essay_states SET processing_metadata = '{}', version = version + 1")
        await spellchecker.commit()

        assert await waiting == ["assigned"]
        await us.commit()


async def test_a_slot_that_other_code_took_meanwhile_is_an_error_and_never_excess(
    harness: BatchHarness, spellchecker: Worker
) -> None:
    async with worker(harness) as us:
        waiting = await us.blocked(harness.content(0))

        await spellchecker.execute("DELETE FROM essay_states")
        await spellchecker.commit()

        with pytest.raises(InventoryMismatch):
            await waiting
        await us.rollback()

    assert await harness.rows("SELECT 1 FROM batch_excess_content") == []
    await harness.execute("INSERT INTO essay_states (batch_id, essay_id) VALUES (:batch, 'e')", batch=make.BATCH)


async def test_a_worker_that_locks_a_batch_for_too_long_lets_the_others_time_out(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=2))
    async with worker(harness) as stuck, worker(harness) as us:
        await stuck.apply(harness.content(0))
        await us.execute("SET LOCAL lock_timeout = '50ms'")

        with pytest.raises(DBAPIError) as caught:
            await us.apply(harness.content(1))
        assert sqlstate(caught.value) == "55P03"
        await us.rollback()
        await stuck.rollback()


async def test_a_worker_that_stopped_in_a_transaction_loses_its_locks(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=2))
    async with worker(harness) as stopped, worker(harness) as us:
        await stopped.execute("SET LOCAL idle_in_transaction_session_timeout = '200ms'")
        await stopped.apply(harness.content(0))

        assert await us.apply(harness.content(1)) == ["assigned"]
        await us.commit()
        with pytest.raises(DBAPIError) as caught:
            await stopped.commit()
        assert classify(caught.value).failure_class is FailureClass.TRANSIENT
        await stopped.conn.invalidate()
    assert await harness.counts() == ("open", 1, 1, 0, 0)


@pytest.mark.parametrize("when", ["between two statements", "while it waits"])
async def test_a_connection_killed_midway_leaves_nothing_and_redelivery_applies_all(
    harness: BatchHarness, when: str
) -> None:
    await harness.together(harness.registration(essays=2))
    contents = harness.contents([0, 1, 2])
    async with worker(harness) as dying:
        if when == "between two statements":
            assert await dying.apply(*contents) == ["assigned", "assigned", "excess"]
            await kill(harness, dying)
            with pytest.raises(DBAPIError) as caught:
                await dying.commit()
        else:
            async with worker(harness) as other:
                await other.execute(LOCK_ALL_SLOTS, batch=make.BATCH)
                waiting = await dying.blocked(*contents)
                await kill(harness, dying)
                with pytest.raises(DBAPIError) as caught:
                    await waiting
        assert classify(caught.value).failure_class is FailureClass.TRANSIENT
        await dying.conn.invalidate()

    assert await harness.counts() == ("open", 2, 0, 0, 0)
    assert await harness.outbox_events() == []
    assert await harness.together(*contents) == ["assigned", "assigned", "excess"]


async def test_the_time_under_a_lock_is_read_after_the_wait_for_it(harness: BatchHarness) -> None:
    await harness.together(harness.registration())
    async with worker(harness) as first, worker(harness) as second:
        await trackers.lock(first.conn, [make.BATCH])
        waiting = await second.blocked_in(trackers.lock(second.conn, [make.BATCH]))
        released_at = await first.conn.scalar(text("SELECT clock_timestamp()"))
        await first.rollback()

        assert (await waiting).now > released_at


async def test_a_claim_rolled_back_frees_its_slots_and_its_numbers(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=2))
    async with worker(harness) as failing:
        await failing.apply(*harness.contents([0, 1]))
        await failing.rollback()

    assert await harness.counts() == ("open", 2, 0, 0, 0)
    assert (await harness.tracker()).next_sequence == 1
    assert await harness.one_by_one(*harness.contents([1, 0])) == ["assigned", "assigned"]


async def kill(harness: BatchHarness, victim: Worker) -> None:
    """Terminate the backend of a worker; return when it and its locks are gone."""
    await harness.execute("SELECT pg_terminate_backend(:pid, 5000)", pid=victim.pid)


def sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", ""))


async def test_a_slot_in_the_counters_that_no_row_has_is_an_error_and_never_excess(
    harness: BatchHarness,
) -> None:
    await harness.together(harness.registration(essays=2))
    await harness.execute("DELETE FROM essay_states WHERE essay_id = :gone", gone=make.essay_ids(2)[1])

    with pytest.raises(InventoryMismatch, match=make.BATCH):
        await harness.together(*harness.contents([0, 1]))

    assert await harness.counts() == ("open", 2, 0, 0, 0)
    await harness.execute("INSERT INTO essay_states (batch_id, essay_id) VALUES (:b, 'e')", b=make.BATCH)
    assert await harness.together(*harness.contents([0, 1])) == ["assigned", "assigned"]
