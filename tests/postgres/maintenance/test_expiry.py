"""Expiry of deadlines and pending events, by the database's clock and only up to the watermark of the input."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import text

from els_stream.events import topics
from els_stream.kafka.offsets import Partition
from els_stream.maintenance.expiry import SLOT_TOPICS
from els_stream.maintenance.replay import Accepted, replay
from els_stream.queries import expiry
from els_stream.queries.expiry import watermark
from tests.support import factories as make
from tests.support.batch_harness import DEADLINE, BatchHarness
from tests.support.clock_shift import DAY, GROUP, HOUR, PREFIX, ClockShift, partitions

PAST = DEADLINE + HOUR


@pytest.fixture
def time(harness: BatchHarness) -> ClockShift:
    return ClockShift(harness)


async def test_a_time_out_lists_the_filled_and_the_missing_essays(harness: BatchHarness, time: ClockShift) -> None:
    await harness.together(harness.registration(essays=3))
    await harness.together(harness.content(0))
    await time.pass_(PAST)
    await time.processed()

    assert await time.time_out() == 1

    event = (await harness.outbox_events())[-1]
    first, *missing = make.essay_ids(3)
    assert (event.kind, event.key) == ("timeout", make.BATCH.encode())
    assert [ref["essay_id"] for ref in event.data["ready_essays"]] == [first]
    assert event.data["missing_essay_ids"] == missing
    assert (event.data["expected_count"], event.data["actual_count"]) == (3, 1)
    assert event.data["timeout_duration_seconds"] == DEADLINE.total_seconds()


async def test_a_batch_times_out_once(harness: BatchHarness, time: ClockShift) -> None:
    await harness.together(harness.registration())
    await time.pass_(PAST)
    await time.processed()

    assert [await time.time_out(), await time.time_out()] == [1, 0]
    assert await harness.kinds() == ["timeout"]


async def test_content_after_the_time_out_still_completes_the_batch(harness: BatchHarness, time: ClockShift) -> None:
    await harness.together(harness.registration(essays=1))
    await time.pass_(PAST)
    await time.processed()
    await time.time_out()

    assert await harness.together(harness.content(0)) == ["assigned"]
    assert await harness.kinds() == ["timeout", "assigned", "completed"]


async def test_batches_before_their_deadline_or_full_do_not_time_out(harness: BatchHarness, time: ClockShift) -> None:
    await harness.together(harness.registration("full", essays=1, class_id="class-9b"))
    await harness.together(harness.content(0, "full"))
    await time.pass_(PAST)
    await harness.together(harness.registration("young"))
    await time.processed()

    assert await time.time_out() == 0


async def test_an_outage_causes_no_time_out_while_contents_are_unread(harness: BatchHarness, time: ClockShift) -> None:
    """Friday: three slots, one essay. The other two are in Kafka all weekend, in a partition that is not read."""
    await harness.together(harness.registration(essays=3))
    await harness.together(harness.content(0))
    unread, *others = partitions(*SLOT_TOPICS)
    await time.processed()
    await time.pass_(PAST)

    assert await time.time_out() == 0, "nothing was processed past the deadline"
    await time.processed(of=others)
    assert await time.time_out() == 0, "one partition was not processed"
    await time.processed(watermark=PAST - HOUR * 2, of=[unread])
    assert await time.time_out() == 0, "it was processed, but not up to the deadline"

    await harness.together(*harness.contents([1, 2]))
    await time.processed(of=[unread])
    assert await time.time_out() == 0
    assert await harness.kinds() == ["assigned", "assigned", "assigned", "completed"]


async def test_a_watermark_after_the_deadline_lets_the_batch_time_out(harness: BatchHarness, time: ClockShift) -> None:
    await harness.together(harness.registration())
    await time.pass_(PAST)

    await time.processed(watermark=HOUR * 2)
    assert await time.time_out() == 0
    await time.processed(watermark=HOUR / 2)
    assert await time.time_out() == 1


@pytest.mark.parametrize(
    ("what", "of"),
    [
        ("a partition never had an owner", partitions()[:-1]),
        ("no partition ever had an owner", []),
    ],
)
async def test_there_is_no_watermark_without_a_stored_offset_of_every_partition(
    harness: BatchHarness, what: str, of: Sequence[Partition]
) -> None:
    machine = ClockShift(harness)
    await machine.processed(of=of)

    async with harness.engine.connect() as conn:
        assert await watermark(conn, GROUP, partitions()) is None, what


async def test_an_empty_partition_is_processed_once_its_end_was_reached(
    harness: BatchHarness, time: ClockShift
) -> None:
    await time.processed()
    empty = partitions()[0]
    await harness.execute(
        "UPDATE consumed_offsets SET watermark_at = NULL WHERE topic = :topic AND partition = 0", topic=empty.topic
    )
    async with harness.engine.connect() as conn:
        assert await watermark(conn, GROUP, partitions()) is None

    await time.processed(watermark=HOUR, of=[empty])
    async with harness.engine.connect() as conn:
        until = await watermark(conn, GROUP, partitions())
        now = await conn.scalar(text("SELECT now()"))
    assert until is not None
    assert now is not None
    assert HOUR <= now - until < HOUR * 1.1


async def test_a_new_partition_without_an_owner_delays_every_time_out(harness: BatchHarness, time: ClockShift) -> None:
    await harness.together(harness.registration())
    await time.pass_(PAST)
    await time.processed()
    time.broker = [*partitions(), Partition(PREFIX + topics.CONTENT_PROVISIONED, 2)]

    assert await time.time_out() == 0


@pytest.mark.parametrize("known", [[], partitions(topics.CONTENT_PROVISIONED), partitions(topics.VALIDATION_FAILED)])
async def test_without_all_partitions_of_the_broker_nothing_expires(
    harness: BatchHarness, time: ClockShift, known: Sequence[Partition]
) -> None:
    await harness.together(harness.registration())
    await time.pass_(PAST)
    await time.processed()
    time.broker = known

    assert await time.time_out() == 0


async def test_only_the_own_group_and_the_slot_topics_count(harness: BatchHarness, time: ClockShift) -> None:
    await harness.together(harness.registration())
    await time.pass_(PAST)
    await time.processed(group="another-group")
    assert await time.time_out() == 0

    await time.processed(of=partitions(*SLOT_TOPICS))
    assert await time.time_out() == 1


async def test_no_clock_that_runs_ahead_moves_a_deadline(harness: BatchHarness, time: ClockShift) -> None:
    """Neither the timestamps of records count, nor a watermark from a time at which the database's clock was wrong."""
    await harness.together(harness.registration())
    await time.processed()
    await time.pass_(PAST)
    for sent_at in (4102444800000, 2**63 - 1, -1):
        await harness.execute(
            "UPDATE consumed_offsets SET record_timestamp = :ms, record_crc = 0, updated_at = now()", ms=sent_at
        )
        assert await time.time_out() == 0

    await time.processed(watermark=DAY * -3)
    assert await time.time_out() == 0
    await time.processed()
    assert await time.time_out() == 1


async def test_steps_are_limited_by_batches_and_slots_most_overdue_first(
    harness: BatchHarness, time: ClockShift, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await harness.together(harness.registration(f"late-{number}", essays=2))
        await time.pass_(HOUR)
    await time.pass_(PAST)
    await time.processed()
    time.step = 2

    assert await time.time_out() == 2
    async with harness.engine.connect() as conn:
        assert await time.timed_out(conn) == ["late-0", "late-1"]
    time.step = 100
    monkeypatch.setattr(expiry, "MAX_SLOTS_PER_STEP", 3)
    assert [await time.time_out() for _ in range(3)] == [2, 1, 0]


async def test_a_batch_that_fills_while_its_time_out_waits_for_the_lock_stays(
    harness: BatchHarness, time: ClockShift
) -> None:
    await harness.together(harness.registration(essays=1))
    await time.pass_(PAST)
    await time.processed()

    async with harness.engine.begin() as conn:
        async with harness.engine.begin() as other:
            await harness.apply(other, [harness.content(0)])
            until = await watermark(conn, GROUP, partitions())
            assert until is not None
            assert await expiry.overdue(conn, until, 10) == [make.BATCH]
        assert await expiry.time_out(conn, [make.BATCH], until) == {}


@pytest.fixture
async def expired(harness: BatchHarness, time: ClockShift) -> ClockShift:
    """A batch whose events, but for the registration, arrived eight days ago."""
    await harness.one_by_one(harness.content(0), harness.failure(1), harness.associations(2))
    await time.pass_(DAY * 8)
    return time


async def test_expired_pending_events_become_dead_letters_without_a_tracker(
    harness: BatchHarness, expired: ClockShift
) -> None:
    await expired.processed()

    assert [await expired.expire_pending(), await expired.expire_pending()] == [3, 0]
    assert await harness.reasons() == ["never_registered"] * 3
    rows = await harness.rows("SELECT source_topic, batch_id FROM dead_letters")
    assert {row.source_topic for row in rows} == {
        topics.CONTENT_PROVISIONED,
        topics.VALIDATION_FAILED,
        topics.ASSOCIATIONS_CONFIRMED,
    }
    assert {row.batch_id for row in rows} == {make.BATCH}
    assert await harness.rows("SELECT batch_id FROM batch_essay_trackers") == []


async def test_an_unread_registration_keeps_pending_events(harness: BatchHarness, expired: ClockShift) -> None:
    await expired.processed(watermark=DAY * 2, of=partitions(topics.BATCH_REGISTERED)[:1])
    await expired.processed(of=partitions()[1:])

    assert await expired.expire_pending() == 0
    assert await harness.together(harness.registration(essays=3, class_id="class-9b")) == ["registered"]
    assert await expired.expire_pending() == 0
    assert await harness.counts() == ("open", 1, 1, 1, 0)


async def test_younger_events_of_the_same_batch_stay_pending_and_counted(
    harness: BatchHarness, expired: ClockShift
) -> None:
    await harness.together(harness.content(5))
    await expired.processed()

    assert await expired.expire_pending() == 3
    assert await harness.counts() == ("unregistered", 0, 0, 0, 1)


async def test_expiry_of_pending_events_is_limited_by_events_and_bytes(
    harness: BatchHarness, time: ClockShift, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.together(*harness.contents(range(5)))
    await time.pass_(DAY * 8)
    await time.processed()
    monkeypatch.setattr(expiry, "MAX_EVENTS_PER_STEP", 2)

    assert await time.expire_pending() == 2
    assert await harness.counts() == ("unregistered", 0, 0, 0, 3)
    monkeypatch.setattr(expiry, "MAX_BYTES_PER_STEP", 1)
    assert [await time.expire_pending() for _ in range(4)] == [1, 1, 1, 0]
    offsets = [row.source_offset for row in await harness.rows("SELECT source_offset FROM dead_letters ORDER BY id")]
    assert offsets == sorted(offsets)


async def test_a_replayed_event_may_expire_again_and_is_linked_to_its_first_dead_letter(
    harness: BatchHarness, time: ClockShift
) -> None:
    await harness.together(harness.content(0))
    await time.pass_(DAY * 8)
    await time.processed()
    await time.expire_pending()
    (first,) = await harness.rows("SELECT id FROM dead_letters")

    async with harness.engine.begin() as conn:
        assert await replay(conn, harness.handlers, first.id) == Accepted("pending")
    await time.pass_(DAY * 8)
    await time.processed()
    assert await time.expire_pending() == 1

    rows = await harness.rows("SELECT state, replay_of FROM dead_letters ORDER BY id")
    assert [tuple(row) for row in rows] == [("replayed", None), ("open", first.id)]
