"""Two workers at one batch: the first has the lock that the second waits for, until the test ends its transaction."""

from __future__ import annotations

import asyncio

import pytest

from tests.support import factories as make
from tests.support.batch_harness import BatchHarness
from tests.support.staged_workers import Worker

CLASS = "class-9b"
LOCK_SLOT = "SELECT essay_id FROM essay_states WHERE batch_id = :batch AND essay_id = :essay FOR UPDATE"


async def test_content_while_its_batch_registers_waits_and_takes_its_slot(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    assert await worker_a.apply(harness.registration(essays=1)) == ["registered"]
    waiting = await worker_b.blocked(harness.content(0))

    await worker_a.commit()

    assert await waiting == ["assigned"]
    await worker_b.commit()
    assert await harness.counts() == ("completed", 0, 1, 0, 0)


async def test_a_registration_waits_for_a_content_that_is_stored_and_applies_it(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    assert await worker_a.apply(harness.content(0)) == ["pending"]
    waiting = await worker_b.blocked(harness.registration(essays=1))

    await worker_a.commit()

    assert await waiting == ["registered"]
    await worker_b.commit()
    assert await harness.counts() == ("completed", 0, 1, 0, 0)


async def test_a_registration_finds_a_content_stored_before_it_got_the_lock(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    """The registration waits in the locking statement, whose snapshot is older than the second content."""
    await harness.together(harness.content(0))
    assert await worker_a.apply(harness.content(1)) == ["pending"]
    waiting = await worker_b.blocked(harness.registration(essays=2))

    await worker_a.commit()

    assert await waiting == ["registered"]
    await worker_b.commit()
    assert await harness.counts() == ("completed", 0, 2, 0, 0)


async def test_a_registration_after_a_rolled_back_pending_content_has_a_free_slot(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    await worker_a.apply(harness.content(0))
    waiting = await worker_b.blocked(harness.registration(essays=1))

    await worker_a.rollback()

    assert await waiting == ["registered"]
    await worker_b.commit()
    assert await harness.counts() == ("open", 1, 0, 0, 0)


async def test_the_last_two_contents_at_once_complete_the_batch_once(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    await harness.one_by_one(harness.registration(essays=3), harness.content(0))
    assert await worker_a.apply(harness.content(1)) == ["assigned"]
    waiting = await worker_b.blocked(harness.content(2))

    await worker_a.commit()

    assert await waiting == ["assigned"]
    await worker_b.commit()
    assert await harness.kinds() == ["assigned", "assigned", "assigned", "completed"]
    assert (await harness.outbox_events())[-1].data["provisioned_count"] == 3


async def test_two_contents_at_once_for_the_last_slot_and_one_is_excess(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    await harness.together(harness.registration(essays=1))
    await worker_a.apply(harness.content(0))
    waiting = await worker_b.blocked(harness.content(1))

    await worker_a.commit()

    assert await waiting == ["excess"]
    await worker_b.commit()
    assert await harness.kinds() == ["assigned", "completed", "excess"]


async def test_content_takes_the_last_slot_after_a_rolled_back_claim(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    await harness.together(harness.registration(essays=1))
    assert await worker_a.apply(harness.content(0)) == ["assigned"]
    waiting = await worker_b.blocked(harness.content(1))

    await worker_a.rollback()

    assert await waiting == ["assigned"]
    await worker_b.commit()
    assert await harness.kinds() == ["assigned", "completed"]


async def test_the_same_content_at_two_workers_takes_one_slot(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    await harness.together(harness.registration(essays=2))
    content = harness.content(0)
    await worker_a.apply(content)
    waiting = await worker_b.blocked(content)

    await worker_a.commit()

    assert await waiting == ["already_assigned"]
    await worker_b.commit()
    assert await harness.counts() == ("open", 1, 1, 0, 0)


async def test_the_same_content_at_two_workers_is_pending_once(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    content = harness.content(0)
    await worker_a.apply(content)
    waiting = await worker_b.blocked(content)

    await worker_a.commit()

    assert await waiting == ["already_pending"]
    await worker_b.commit()
    assert await harness.counts() == ("unregistered", 0, 0, 0, 1)


@pytest.mark.parametrize("content_first", [True, False])
async def test_the_last_content_against_the_last_failure_completes_the_batch_once(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker, *, content_first: bool
) -> None:
    await harness.together(harness.registration(essays=2))
    last = [harness.content(0), harness.failure(1)]
    first, second = last if content_first else last[::-1]
    await worker_a.apply(first)
    waiting = await worker_b.blocked(second)

    await worker_a.commit()

    await waiting
    await worker_b.commit()
    assert await harness.counts() == ("completed", 0, 1, 1, 0)
    assert await harness.kinds() == ["assigned", "errors", "completed"]


@pytest.mark.parametrize("content_first", [True, False])
async def test_content_against_the_failure_of_the_same_upload_takes_one_slot(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker, *, content_first: bool
) -> None:
    await harness.together(harness.registration(essays=3))
    last = [harness.content(0), harness.failure(0)]
    first, second = last if content_first else last[::-1]
    await worker_a.apply(first)
    waiting = await worker_b.blocked(second)

    await worker_a.commit()

    assert await waiting == ["failure_recorded" if content_first else "took_over_failed_slot"]
    await worker_b.commit()
    assert await harness.counts() == ("open", 2, 1, 0, 0)


@pytest.mark.parametrize("content_first", [True, False])
async def test_associations_against_the_completion_make_the_batch_ready_once(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker, *, content_first: bool
) -> None:
    await harness.together(harness.registration(essays=1, class_id=CLASS))
    last = [harness.content(0), harness.associations(1)]
    first, second = last if content_first else last[::-1]
    await worker_a.apply(first)
    waiting = await worker_b.blocked(second)

    await worker_a.commit()

    await waiting
    await worker_b.commit()
    assert await harness.kinds() == ["assigned", "completed", "ready"]
    assert await harness.counts() == ("completed", 0, 1, 0, 0)


@pytest.mark.parametrize(("essays", "second"), [(2, "already_registered"), (3, "dead_letter")])
async def test_two_registrations_at_once_and_the_second_sees_the_first(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker, essays: int, second: str
) -> None:
    await worker_a.apply(harness.registration(essays=2))
    waiting = await worker_b.blocked(harness.registration(essays=essays))

    await worker_a.commit()

    assert await waiting == [second]
    await worker_b.commit()
    assert await harness.counts() == ("open", 2, 0, 0, 0)


async def test_a_registration_after_one_that_was_rolled_back_opens_the_batch(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    await worker_a.apply(harness.registration(essays=2))
    waiting = await worker_b.blocked(harness.registration(essays=3))

    await worker_a.rollback()

    assert await waiting == ["registered"]
    await worker_b.commit()
    assert await harness.counts() == ("open", 3, 0, 0, 0)


async def test_the_same_invalid_record_at_two_workers_is_one_dead_letter(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    invalid = harness.record("huleedu.file.essay.content.provisioned.v1", b"Dear Sir or Madam,")
    await worker_a.apply(invalid)
    waiting = await worker_b.blocked(invalid)

    await worker_a.commit()

    assert await waiting == ["dead_letter"]
    await worker_b.commit()
    assert await harness.reasons() == ["not_json"]


@pytest.mark.parametrize("kind", ["contents", "registrations"])
async def test_micro_batches_over_the_same_batches_in_opposite_order_do_not_deadlock(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker, kind: str
) -> None:
    batches = [f"class-set-{number}" for number in range(12)]
    if kind == "contents":
        await harness.together(*(harness.registration(batch_id, essays=2) for batch_id in batches))
        forward, backward = [harness.content(0, b) for b in batches], [harness.content(1, b) for b in batches[::-1]]
    else:
        forward, backward = [harness.registration(b) for b in batches], [harness.registration(b) for b in batches[::-1]]

    async def run(one: Worker, both: list[list[str]], *, turns: int = 10) -> None:
        for _ in range(turns):
            both.append(await one.apply(*(forward if one is worker_a else backward)))
            await one.commit()

    seen: list[list[str]] = []
    await asyncio.gather(run(worker_a, seen), run(worker_b, seen))

    first = {"contents": "assigned", "registrations": "registered"}[kind]
    assert sum(labels.count(first) for labels in seen) == (24 if kind == "contents" else 12)


async def test_opposite_orders_of_unknown_batches_do_not_deadlock(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    batches = [f"unheard-of-{number}" for number in range(5)]
    await worker_a.apply(*(harness.content(0, batch_id) for batch_id in batches))
    waiting = await worker_b.blocked(*(harness.content(1, batch_id) for batch_id in batches[::-1]))

    await worker_a.commit()

    assert await waiting == ["pending"] * 5
    await worker_b.commit()
    for batch_id in batches:
        assert await harness.counts(batch_id) == ("unregistered", 0, 0, 0, 2)


async def test_workers_at_different_batches_do_not_wait(
    harness: BatchHarness, worker_a: Worker, worker_b: Worker
) -> None:
    await harness.together(harness.registration("9a"), harness.registration("9b"))

    assert await worker_a.apply(harness.content(0, "9a")) == ["assigned"]
    assert await worker_b.apply(harness.content(0, "9b")) == ["assigned"]
    await worker_b.commit()
    await worker_a.commit()


async def test_a_locked_slot_is_skipped_while_another_is_free(harness: BatchHarness, worker_a: Worker) -> None:
    await harness.together(harness.registration(essays=2))
    await worker_a.execute(LOCK_SLOT, batch=make.BATCH, essay=make.essay_ids(2)[0])

    assert await harness.together(harness.content(0)) == ["assigned"]
    assert [slot.text_storage_id is None for slot in await harness.slots()] == [True, False]
