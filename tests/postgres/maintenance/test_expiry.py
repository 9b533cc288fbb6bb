"""Time: deadlines and parked events, judged by the database's clock and only as far as the input was handled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import text

from els_stream.events import topics
from els_stream.kafka.offsets import Partition
from els_stream.maintenance.replay import Accepted, replay
from els_stream.queries import expiry
from els_stream.queries.expiry import handled_until
from tests.support import factories as make
from tests.support.batch_harness import DEADLINE, BatchHarness
from tests.support.clock_shift import DAY, FILL_SLOTS, GROUP, HOUR, PREFIX, ClockShift, partitions

PAST = DEADLINE + HOUR


@pytest.fixture
def time(school: BatchHarness) -> ClockShift:
    return ClockShift(school)


async def test_an_overdue_batch_is_told_with_what_is_there_and_what_is_missing(
    school: BatchHarness, time: ClockShift
) -> None:
    await school.together(school.registration(essays=3))
    await school.together(school.content(0))
    await time.pass_(PAST)
    await time.handled()

    assert await time.time_out() == 1

    event = (await school.told())[-1]
    first, *missing = make.essay_ids(3)
    assert (event.kind, event.key) == ("timeout", make.BATCH.encode())
    assert [ref["essay_id"] for ref in event.data["ready_essays"]] == [first]
    assert event.data["missing_essay_ids"] == missing
    assert (event.data["expected_count"], event.data["actual_count"]) == (3, 1)
    assert event.data["timeout_duration_seconds"] == DEADLINE.total_seconds()


async def test_a_batch_times_out_once(school: BatchHarness, time: ClockShift) -> None:
    await school.together(school.registration())
    await time.pass_(PAST)
    await time.handled()

    assert [await time.time_out(), await time.time_out()] == [1, 0]
    assert await school.kinds() == ["timeout"]


async def test_content_after_the_timeout_still_counts_and_completes_the_batch(
    school: BatchHarness, time: ClockShift
) -> None:
    await school.together(school.registration(essays=1))
    await time.pass_(PAST)
    await time.handled()
    await time.time_out()

    assert await school.together(school.content(0)) == ["assigned"]
    assert await school.kinds() == ["timeout", "assigned", "completed"]


async def test_batches_before_their_deadline_or_full_do_not_time_out(school: BatchHarness, time: ClockShift) -> None:
    await school.together(school.registration("full", essays=1, class_id="class-9b"))
    await school.together(school.content(0, "full"))
    await time.pass_(PAST)
    await school.together(school.registration("young"))
    await time.handled()

    assert await time.time_out() == 0


async def test_an_outage_over_the_weekend_fires_no_timeout_for_contents_that_lie_unread(
    school: BatchHarness, time: ClockShift
) -> None:
    """Friday: three slots, one essay. The other two lie in Kafka all weekend, in a partition that nobody reads."""
    await school.together(school.registration(essays=3))
    await school.together(school.content(0))
    unread, *others = partitions(*FILL_SLOTS)
    await time.handled()
    await time.pass_(PAST)

    assert await time.time_out() == 0, "nothing was handled past the deadline"
    await time.handled(of=others)
    assert await time.time_out() == 0, "one partition was not"
    await time.handled(record=PAST - HOUR * 2, of=[unread])
    assert await time.time_out() == 0, "it was read on, and not as far as the deadline"

    await school.together(*school.contents([1, 2]))
    await time.handled(of=[unread])
    assert await time.time_out() == 0
    assert await school.kinds() == ["assigned", "assigned", "assigned", "completed"]


async def test_a_record_later_than_the_deadline_says_that_the_partition_was_handled_past_it(
    school: BatchHarness, time: ClockShift
) -> None:
    await school.together(school.registration())
    await time.pass_(PAST)

    await time.handled(record=HOUR * 2)
    assert await time.time_out() == 0
    await time.handled(record=HOUR / 2)
    assert await time.time_out() == 1


@pytest.mark.parametrize(
    ("what", "of"),
    [
        ("a partition that was never owned", partitions()[:-1]),
        ("no partition was ever owned", []),
    ],
)
async def test_nothing_is_known_without_a_ledger_row_of_every_partition(
    school: BatchHarness, what: str, of: Sequence[Partition]
) -> None:
    machine = ClockShift(school)
    await machine.handled(of=of)

    async with school.engine.connect() as conn:
        assert await handled_until(conn, GROUP, partitions()) is None, what


async def test_a_partition_without_any_record_is_handled_once_its_end_was_reached(
    school: BatchHarness, time: ClockShift
) -> None:
    await time.handled()
    empty = partitions()[0]
    await school.execute(
        "UPDATE consumed_offsets SET watermark_at = NULL WHERE topic = :topic AND partition = 0", topic=empty.topic
    )
    async with school.engine.connect() as conn:
        assert await handled_until(conn, GROUP, partitions()) is None

    await time.handled(caught_up=HOUR, of=[empty])
    async with school.engine.connect() as conn:
        until = await handled_until(conn, GROUP, partitions())
        now = await conn.scalar(text("SELECT now()"))
    assert until is not None
    assert now is not None
    assert HOUR <= now - until < HOUR * 1.1


async def test_partitions_that_the_broker_added_and_nobody_owns_yet_hold_back_every_timeout(
    school: BatchHarness, time: ClockShift
) -> None:
    await school.together(school.registration())
    await time.pass_(PAST)
    await time.handled()
    time.broker = [*partitions(), Partition(PREFIX + topics.CONTENT_PROVISIONED, 2)]

    assert await time.time_out() == 0


@pytest.mark.parametrize("known", [[], partitions(topics.CONTENT_PROVISIONED), partitions(topics.VALIDATION_FAILED)])
async def test_while_the_broker_does_not_tell_its_partitions_nothing_expires(
    school: BatchHarness, time: ClockShift, known: Sequence[Partition]
) -> None:
    await school.together(school.registration())
    await time.pass_(PAST)
    await time.handled()
    time.broker = known

    assert await time.time_out() == 0


async def test_only_the_own_group_and_the_topics_that_fill_slots_are_asked(
    school: BatchHarness, time: ClockShift
) -> None:
    await school.together(school.registration())
    await time.pass_(PAST)
    await time.handled(group="another-group")
    assert await time.time_out() == 0

    await time.handled(of=partitions(*FILL_SLOTS))
    assert await time.time_out() == 1


async def test_a_producer_whose_clock_runs_ahead_moves_no_deadline(school: BatchHarness, time: ClockShift) -> None:
    """A record was not written after it was handled: Friday's record from next year was handled on Friday."""
    await school.together(school.registration())
    await time.handled(record=timedelta(0))
    await time.pass_(PAST)
    for absurd in (4102444800000, 2**63 - 1):
        await school.execute("UPDATE consumed_offsets SET record_timestamp = :ms", ms=absurd)
        assert await time.time_out() == 0
    await school.execute("UPDATE consumed_offsets SET record_timestamp = -1")
    assert await time.time_out() == 0


async def test_steps_are_bounded_in_batches_and_in_slots_and_the_most_overdue_come_first(
    school: BatchHarness, time: ClockShift, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await school.together(school.registration(f"late-{number}", essays=2))
        await time.pass_(HOUR)
    await time.pass_(PAST)
    await time.handled()
    time.step = 2

    assert await time.time_out() == 2
    async with school.engine.connect() as conn:
        assert await time.timed_out(conn) == ["late-0", "late-1"]
    time.step = 100
    monkeypatch.setattr(expiry, "SLOTS_AT_ONCE", 3)
    assert [await time.time_out() for _ in range(3)] == [2, 1, 0]


async def test_a_batch_that_fills_while_its_timeout_waits_for_the_lock_does_not_time_out(
    school: BatchHarness, time: ClockShift
) -> None:
    await school.together(school.registration(essays=1))
    await time.pass_(PAST)
    await time.handled()

    async with school.engine.begin() as conn:
        async with school.engine.begin() as other:
            await school.apply(other, [school.content(0)])
            until = await handled_until(conn, GROUP, partitions())
            assert until is not None
            assert await expiry.overdue(conn, until, 10) == [make.BATCH]
        assert await expiry.time_out(conn, [make.BATCH], until) == {}


@pytest.fixture
async def forgotten(school: BatchHarness, time: ClockShift) -> ClockShift:
    """A batch of which everything but the registration came, eight days ago."""
    await school.one_by_one(school.content(0), school.failure(1), school.associations(2))
    await time.pass_(DAY * 8)
    return time


async def test_what_is_parked_too_long_becomes_dead_letters_and_its_tracker_goes(
    school: BatchHarness, forgotten: ClockShift
) -> None:
    await forgotten.handled()

    assert [await forgotten.give_up(), await forgotten.give_up()] == [3, 0]
    assert await school.reasons() == ["never_registered"] * 3
    rows = await school.rows("SELECT source_topic, batch_id FROM dead_letters")
    assert {row.source_topic for row in rows} == {
        topics.CONTENT_PROVISIONED,
        topics.VALIDATION_FAILED,
        topics.ASSOCIATIONS_CONFIRMED,
    }
    assert {row.batch_id for row in rows} == {make.BATCH}
    assert await school.rows("SELECT batch_id FROM batch_essay_trackers") == []


async def test_a_registration_that_lies_unread_keeps_what_is_parked(
    school: BatchHarness, forgotten: ClockShift
) -> None:
    await forgotten.handled(caught_up=DAY * 2, of=partitions(topics.BATCH_REGISTERED)[:1])
    await forgotten.handled(of=partitions()[1:])

    assert await forgotten.give_up() == 0
    assert await school.together(school.registration(essays=3, class_id="class-9b")) == ["registered"]
    assert await forgotten.give_up() == 0
    assert await school.counts() == ("open", 1, 1, 1, 0)


async def test_younger_events_of_the_same_batch_stay_parked_and_are_counted(
    school: BatchHarness, forgotten: ClockShift
) -> None:
    await school.together(school.content(5))
    await forgotten.handled()

    assert await forgotten.give_up() == 3
    assert await school.counts() == ("unregistered", 0, 0, 0, 1)


async def test_giving_up_is_bounded_in_batches_events_and_bytes(
    school: BatchHarness, time: ClockShift, monkeypatch: pytest.MonkeyPatch
) -> None:
    await school.together(*school.contents(range(5)))
    await time.pass_(DAY * 8)
    await time.handled()
    monkeypatch.setattr(expiry, "EVENTS_AT_ONCE", 2)

    assert await time.give_up() == 2
    assert await school.counts() == ("unregistered", 0, 0, 0, 3)
    monkeypatch.setattr(expiry, "BYTES_AT_ONCE", 1)
    assert [await time.give_up() for _ in range(4)] == [1, 1, 1, 0]
    offsets = [row.source_offset for row in await school.rows("SELECT source_offset FROM dead_letters ORDER BY id")]
    assert offsets == sorted(offsets)


async def test_what_was_given_up_is_replayed_parks_again_and_is_given_up_again_under_its_first_letter(
    school: BatchHarness, time: ClockShift
) -> None:
    await school.together(school.content(0))
    await time.pass_(DAY * 8)
    await time.handled()
    await time.give_up()
    (first,) = await school.rows("SELECT id FROM dead_letters")

    async with school.engine.begin() as conn:
        assert await replay(conn, school.handlers, first.id) == Accepted("pending")
    await time.pass_(DAY * 8)
    await time.handled()
    assert await time.give_up() == 1

    rows = await school.rows("SELECT state, replay_of FROM dead_letters ORDER BY id")
    assert [tuple(row) for row in rows] == [("replayed", None), ("open", first.id)]
