"""Inconsistencies that no transaction of the service leaves, made by hand: the scan finds and repairs each."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.domain.claim_strategy import Strategy
from els_stream.errors import InventoryMismatch
from els_stream.handlers.recount import RepairCounts, RepairKind
from els_stream.maintenance.repair import RepairScan, repair
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness, handlers_by_topic
from tests.support.invariants import broken_invariants
from tests.support.staged_workers import worker

CLASS = "class-9b"

RESTORE_PENDING = "INSERT INTO batch_pending_events OVERRIDING SYSTEM VALUE SELECT * FROM former_pending"


@pytest.fixture(params=[Strategy.OPTION_A, Strategy.OPTION_B])
async def harness(engine: AsyncEngine, request: pytest.FixtureRequest) -> AsyncIterator[BatchHarness]:
    """A harness for each slot table. A test breaks batches by hand; at its end they must be consistent again."""
    harness = BatchHarness(engine=engine, handlers=handlers_by_topic(strategy=request.param))
    yield harness
    async with engine.connect() as conn:
        assert await broken_invariants(conn) == []


async def scan(harness: BatchHarness, chunk_size: int = 1000) -> Mapping[RepairKind, int]:
    """Run one whole scan; return the repairs by kind."""
    repairs = RepairCounts()
    repair_scan = RepairScan(Strategy.OPTION_B, repairs, chunk_size)
    more = True
    while more:
        async with harness.engine.begin() as conn:
            more = (await repair_scan.step(conn)).more
    return {kind: count for kind, count in repairs.counts().items() if count}


async def test_a_scan_finds_nothing_where_all_is_consistent(harness: BatchHarness) -> None:
    await harness.together(harness.content(0, "early"))
    await harness.together(*(harness.registration(f"batch-{n}", essays=2, class_id=CLASS) for n in range(5)))
    await harness.together(*(harness.content(n, f"batch-{n}") for n in range(5)))
    await harness.one_by_one(
        harness.content(7, "batch-1"), harness.failure(8, "batch-2"), harness.failure(9, "batch-3")
    )

    assert await scan(harness) == {}
    assert await scan(harness, chunk_size=1) == {}


async def leave_pending_events_of_a_registered_batch(harness: BatchHarness, essays: int = 2) -> None:
    """Register a batch, and bring back the pending events that the registration should have applied."""
    await harness.one_by_one(harness.content(2), harness.content(1), harness.content(0))
    await harness.execute("CREATE TABLE former_pending AS TABLE batch_pending_events")
    await harness.execute("DELETE FROM batch_pending_events")
    await harness.execute("UPDATE batch_essay_trackers SET pending_count = 0")
    await harness.together(harness.registration(essays=essays))
    await harness.execute(RESTORE_PENDING)


async def test_pending_events_of_a_registered_batch_are_applied_in_order(harness: BatchHarness) -> None:
    await leave_pending_events_of_a_registered_batch(harness)

    assert await scan(harness) == {RepairKind.PENDING_APPLIED: 1}

    assert [slot.original_file_name for slot in await harness.slots()] == [make.file_name(2), make.file_name(1)]
    assert await harness.kinds() == ["assigned", "assigned", "completed", "excess"]
    assert await scan(harness) == {}


async def test_pending_events_of_a_completed_batch_are_applied_too(harness: BatchHarness) -> None:
    await leave_pending_events_of_a_registered_batch(harness, essays=1)
    await harness.together(harness.content(9))

    assert await scan(harness) == {RepairKind.PENDING_APPLIED: 1}
    assert await harness.kinds() == ["assigned", "completed", "excess", "excess", "excess"]


async def test_pending_events_of_a_tombstone_become_dead_letters(harness: BatchHarness) -> None:
    await leave_pending_events_of_a_registered_batch(harness)
    await harness.execute(
        """
        UPDATE batch_essay_trackers SET state = 'purged', purged_at = now() - interval '1 day', user_id = NULL,
               org_id = NULL, class_id = NULL, student_prompt_ref = NULL
        """
    )
    await harness.execute("DELETE FROM essay_states")
    await harness.execute("DELETE FROM slot_assignments")

    assert await scan(harness) == {RepairKind.PENDING_APPLIED: 1}
    assert await harness.reasons() == ["batch_purged"] * 3


async def test_a_wrong_count_of_pending_events_is_recounted(harness: BatchHarness) -> None:
    await harness.together(*harness.contents([0, 1]))
    await harness.execute("UPDATE batch_essay_trackers SET pending_count = 7")

    assert await scan(harness) == {RepairKind.PENDING_RECOUNTED: 1}
    assert await harness.counts() == ("unregistered", 0, 0, 0, 2)


async def test_an_unregistered_batch_without_pending_events_is_removed(harness: BatchHarness) -> None:
    await harness.execute("INSERT INTO batch_essay_trackers (batch_id, pending_count) VALUES ('a', 0), ('b', 3)")

    assert await scan(harness) == {RepairKind.EMPTY_BATCH_REMOVED: 2}
    assert await harness.rows("SELECT batch_id FROM batch_essay_trackers") == []


async def test_wrong_slot_counters_are_set_to_the_rows(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=5, class_id=CLASS))
    await harness.together(*harness.contents([0, 1]))
    await harness.together(harness.failure(2))
    await harness.execute("UPDATE batch_essay_trackers SET free_count = 1, filled_count = 4, failed_count = 0")

    assert await scan(harness) == {RepairKind.SLOTS_RECOUNTED: 1}
    assert await harness.counts() == ("open", 2, 2, 1, 0)


async def test_a_batch_that_is_full_after_a_recount_completes_and_publishes(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=2))
    await harness.together(harness.content(0))
    await fill_slots_without_counting(harness, essays=1)

    assert await scan(harness) == {RepairKind.SLOTS_RECOUNTED: 1}
    assert await harness.counts() == ("completed", 0, 2, 0, 0)
    assert await harness.kinds() == ["assigned", "completed"]
    assert (await harness.outbox_events())[-1].data["provisioned_count"] == 2


async def test_a_recount_of_a_complete_batch_publishes_nothing(
    harness: BatchHarness,
) -> None:
    await harness.together(harness.registration(essays=2, class_id=CLASS))
    await harness.together(harness.content(0))
    await harness.together(harness.failure(1))
    await harness.execute("UPDATE batch_essay_trackers SET filled_count = 0, failed_count = 2")

    assert await scan(harness) == {RepairKind.SLOTS_RECOUNTED: 1}
    assert await harness.counts() == ("content_complete", 0, 1, 1, 0)
    assert await harness.kinds() == ["assigned", "errors", "completed"]


async def test_a_lost_slot_is_unrepairable_and_logged_in_each_scan(
    harness: BatchHarness, caplog: pytest.LogCaptureFixture
) -> None:
    await harness.together(harness.registration(essays=2))
    gone = make.essay_ids(2)[1]
    await harness.execute("DELETE FROM essay_states WHERE essay_id = :gone", gone=gone)
    await harness.execute("DELETE FROM slot_assignments WHERE essay_id = :gone", gone=gone)

    with caplog.at_level(logging.ERROR):
        assert await scan(harness) == {RepairKind.UNREPAIRABLE: 1}
        assert await scan(harness) == {RepairKind.UNREPAIRABLE: 1}

    assert await harness.counts() == ("open", 2, 0, 0, 0)
    assert make.BATCH in caplog.text
    await harness.execute("DELETE FROM batch_essay_trackers")


async def test_a_completed_batch_is_never_reopened(harness: BatchHarness) -> None:
    """Its completion was published: a slot that is free by the rows must not be assigned after that."""
    await harness.together(harness.registration(essays=1, class_id=CLASS))
    await harness.together(harness.content(0))
    await harness.execute(
        """
        UPDATE essay_states SET current_status = 'uploaded', text_storage_id = NULL, file_upload_id = NULL,
               filled_at = NULL
        """
    )
    await harness.execute(
        "UPDATE slot_assignments SET status = 'available', text_storage_id = NULL, file_upload_id = NULL"
    )

    assert await scan(harness) == {RepairKind.UNREPAIRABLE: 1}
    assert await harness.counts() == ("content_complete", 0, 1, 0, 0)
    await harness.execute("DELETE FROM batch_essay_trackers")


async def test_a_scan_continues_after_an_error_and_repairs_one_batch_per_step(harness: BatchHarness) -> None:
    batches = [f"batch-{number}" for number in range(5)]
    await harness.together(*(harness.registration(batch_id, essays=3) for batch_id in batches))
    await harness.together(*(harness.content(0, batch_id) for batch_id in batches))
    await harness.execute("UPDATE batch_essay_trackers SET free_count = 1, filled_count = 2")
    repair_scan = RepairScan(Strategy.OPTION_B, RepairCounts(), 2)
    async with harness.engine.connect() as conn:
        await repair_scan.step(conn)
        await conn.rollback()  # as after an error in the repair of the first

    steps = []
    for _ in range(5):
        async with harness.engine.begin() as conn:
            steps.append((await repair_scan.step(conn)).repaired)

    assert steps == [1, 1, 1, 1, 0]
    assert await scan(harness) == {RepairKind.SLOTS_RECOUNTED: 1}


async def test_a_batch_that_was_repaired_meanwhile_is_left_alone(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=2))

    repairs = RepairCounts()
    async with harness.engine.begin() as conn:
        assert await repair(conn, make.BATCH, Strategy.OPTION_B, repairs) == 0
    assert set(repairs.counts().values()) == {0}


async def fill_slots_without_counting(harness: BatchHarness, essays: int) -> None:
    """Fill free slots as foreign code would that does not know the counters."""
    await harness.execute(
        """
        UPDATE essay_states SET current_status = 'ready_for_processing', text_storage_id = 'strange-' || essay_id,
               file_upload_id = 'strange-' || essay_id, original_file_name = 'strange.docx', filled_at = now()
        WHERE (batch_id, essay_id) IN (SELECT batch_id, essay_id FROM essay_states
                                       WHERE text_storage_id IS NULL AND failed_at IS NULL ORDER BY essay_id DESC
                                       LIMIT :essays)
        """,
        essays=essays,
    )
    await harness.execute(
        """
        UPDATE slot_assignments a SET status = 'assigned', text_storage_id = e.text_storage_id,
               file_upload_id = e.file_upload_id, assigned_at = now()
        FROM essay_states e
        WHERE e.batch_id = a.batch_id AND e.essay_id = a.essay_id AND e.text_storage_id LIKE 'strange-%'
        """
    )


async def test_the_attempt_after_a_mismatch_recounts_and_works(harness: BatchHarness) -> None:
    """Two slots are free by the counters, one by the rows: counters alone never make a content excess."""
    await harness.together(harness.registration(essays=3))
    await harness.together(harness.content(0))
    await fill_slots_without_counting(harness, essays=1)
    late = harness.contents([1, 2])

    with pytest.raises(InventoryMismatch) as caught:
        await harness.together(*late)
    assert caught.value.batch_ids == {make.BATCH}
    assert await harness.counts() == ("open", 2, 1, 0, 0)

    assert await harness.together(*late) == ["assigned", "excess"]
    assert await harness.counts() == ("completed", 0, 3, 0, 0)
    assert await harness.kinds() == ["assigned", "assigned", "completed", "excess"]


async def test_a_full_batch_completes_after_a_mismatch_and_content_is_excess(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=2, class_id=CLASS))
    await fill_slots_without_counting(harness, essays=2)

    for record, label in ((harness.failure(5), "failure_recorded"), (harness.content(6), "excess")):
        if label == "failure_recorded":
            with pytest.raises(InventoryMismatch):
                await harness.together(record)
        assert await harness.together(record) == [label]
    assert await harness.kinds() == ["completed", "excess"]


async def test_a_mismatch_that_a_recount_cannot_repair_stays_an_error(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=1))
    await harness.execute("DELETE FROM essay_states")
    await harness.execute("DELETE FROM slot_assignments")

    for _ in range(3):
        with pytest.raises(InventoryMismatch):
            await harness.together(harness.content(0))
    assert await harness.rows("SELECT 1 FROM batch_excess_content") == []
    await harness.execute("DELETE FROM batch_essay_trackers")


async def test_a_recount_that_is_rolled_back_is_repeated(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=2))
    await fill_slots_without_counting(harness, essays=1)
    late = harness.contents([1, 2])
    with pytest.raises(InventoryMismatch):
        await harness.together(*late)
    async with worker(harness) as dying:
        assert await dying.apply(*late) == ["assigned", "excess"]
        await dying.rollback()

    assert await harness.together(*late) == ["assigned", "excess"]
