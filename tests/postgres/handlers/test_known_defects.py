"""Defects of an earlier service, each named as its user would report it, and the behaviour now."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import event, make_url
from sqlalchemy.exc import DBAPIError

from els_stream.db.engine import Limits, create_engine
from els_stream.events.records import RawRecord
from els_stream.maintenance.purge import PurgePlan, purge_guests
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness, handlers_by_topic
from tests.support.staged_workers import worker

CLASS = "class-9b"
IN_FLIGHT = 200


async def test_my_essay_has_a_slot_but_its_event_was_never_sent(harness: BatchHarness) -> None:
    """Events were written in a transaction after that of the claim: a crash between the two lost them."""
    await harness.together(harness.registration(essays=1))
    content = harness.content(0)
    async with worker(harness) as crashing:
        await crashing.apply(content)
        await crashing.rollback()
    assert await harness.counts() == ("open", 1, 0, 0, 0)
    assert await harness.outbox_events() == []

    await harness.together(content)

    assert await harness.counts() == ("completed", 0, 1, 0, 0)
    assert await harness.kinds() == ["assigned", "completed"]


async def test_my_class_was_reported_complete_twice(harness: BatchHarness) -> None:
    """Two workers assigned the last two contents at once, and each saw itself as the last."""
    batches = [f"twins-{number}" for number in range(40)]
    await harness.together(*(harness.registration(batch_id, essays=2) for batch_id in batches))

    for batch_id in batches:
        await asyncio.gather(*(harness.together(harness.content(n, batch_id)) for n in range(2)))

    for batch_id in batches:
        assert await harness.kinds(batch_id) == ["assigned", "assigned", "completed"]


async def test_my_class_is_announced_again_and_again_after_every_restart(harness: BatchHarness) -> None:
    """A redelivery after the completion sent its events again."""
    records = [harness.registration(essays=2, class_id=CLASS), *harness.contents([0, 1]), harness.associations(2)]
    await harness.one_by_one(*records)
    published = await ids(harness)

    for _ in range(3):
        await harness.one_by_one(*records)

    assert await ids(harness) == published


async def test_one_student_handed_in_an_empty_file_and_the_class_waits_for_ever(harness: BatchHarness) -> None:
    """Failures were counted in one table and slots in another, so they never met."""
    await harness.one_by_one(harness.registration(essays=3), harness.content(0), harness.failure(1), harness.content(2))

    assert await harness.counts() == ("completed", 0, 2, 1, 0)
    assert await harness.kinds() == ["assigned", "assigned", "errors", "completed"]


async def test_i_uploaded_while_the_batch_was_being_registered_and_my_essay_vanished(harness: BatchHarness) -> None:
    """The content was stored as pending just after the registration had read the pending contents."""
    for number in range(20):
        batch_id = f"in-a-hurry-{number}"
        registration, content = harness.registration(batch_id, essays=1), harness.content(0, batch_id)
        await asyncio.gather(harness.together(registration), harness.together(content))

        assert await harness.counts(batch_id) == ("completed", 0, 1, 0, 0)


async def test_i_pressed_register_twice_and_got_an_error(harness: BatchHarness) -> None:
    """The second registration of the same batch raised."""
    assert await harness.one_by_one(harness.registration(), harness.registration()) == [
        "registered",
        "already_registered",
    ]


async def test_there_was_room_in_the_class_and_my_essay_was_still_turned_away(harness: BatchHarness) -> None:
    """All free slots were locked for a moment, and locked was read as full."""
    await harness.together(harness.registration(essays=2))
    async with worker(harness) as other, worker(harness) as us:
        await other.execute("SELECT essay_id FROM essay_states FOR UPDATE")
        waiting = await us.blocked(harness.content(0))
        await other.rollback()

        assert await waiting == ["assigned"]
        await us.commit()


async def test_the_database_hiccuped_and_my_batch_was_called_unknown(harness: BatchHarness) -> None:
    """An error while the tracker was read became `not registered`, and the content was pending for ever."""
    await harness.together(harness.registration(essays=1))
    async with worker(harness) as us:
        await us.execute("SET LOCAL lock_timeout = '20ms'")
        async with worker(harness) as other:
            await other.execute("SELECT batch_id FROM batch_essay_trackers FOR UPDATE")
            with pytest.raises(DBAPIError):
                await us.apply(harness.content(0))
        await us.rollback()

    assert await harness.counts() == ("open", 1, 0, 0, 0)
    assert await harness.together(harness.content(0)) == ["assigned"]


async def test_on_the_day_before_the_deadline_everything_stood_still(harness: BatchHarness, database: str) -> None:
    """Each unit of work opened a second connection beside its first: 200 at once used up the pool and waited."""
    url = make_url(database).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    small_pool = create_engine(url, Limits(connect=30), pool_size=4)
    busy = BatchHarness(engine=small_pool)
    batches = [f"last-minute-{number}" for number in range(IN_FLIGHT)]
    await harness.together(*(harness.registration(batch_id, essays=1) for batch_id in batches))

    async with asyncio.timeout(30):
        labels = await asyncio.gather(*(busy.together(harness.content(0, batch_id)) for batch_id in batches))
    await small_pool.dispose()

    assert labels == [["assigned"]] * IN_FLIGHT


async def test_every_essay_costs_a_walk_to_the_database_and_back_fifty_times(harness: BatchHarness) -> None:
    """A micro-batch is a few statements, whatever its size."""
    batches = [f"class-set-{number}" for number in range(50)]
    await harness.together(*(harness.registration(batch_id, essays=4) for batch_id in batches))

    few = await statements_of(harness, [harness.content(0, batches[0])])
    many = await statements_of(harness, [harness.content(n, batch_id) for n in (1, 2) for batch_id in batches])

    assert few <= 8
    assert many <= few + 2


async def test_years_after_the_course_my_essays_were_still_in_the_database(harness: BatchHarness) -> None:
    """Batches were purged, and all their essay rows remained."""
    await harness.together(harness.registration(essays=2))
    await harness.together(*harness.contents([0, 1]))
    async with harness.all_sent():
        plan = PurgePlan(older_than_days=0)
        await purge_guests(harness.engine, plan, stop=asyncio.Event(), progress=lambda _: None)

        assert (await harness.tracker()).state == "purged"
        assert await harness.slots() == []
        assert make.BATCH not in str(await harness.rows("SELECT batch_id FROM essay_states"))
    await harness.empty_outbox()
    await harness.execute("DELETE FROM batch_essay_trackers")


async def test_the_same_news_came_under_three_different_ids(harness: BatchHarness) -> None:
    """Each attempt to publish made a new event id; now ids are derived from the facts, and the bytes are stored."""
    await harness.one_by_one(harness.registration(essays=1), harness.content(0))
    published = await harness.outbox_events()

    async with harness.engine.begin() as conn:
        await conn.exec_driver_sql("TRUNCATE batch_essay_trackers, event_outbox, outbox_segments CASCADE")
    harness.handlers = handlers_by_topic()
    await harness.one_by_one(harness.registration(essays=1), harness.content(0))

    assert await ids(harness) == [one.event_id for one in published]
    assert [one.key for one in published] == [make.BATCH.encode()] * 2


async def statements_of(harness: BatchHarness, records: list[RawRecord]) -> int:
    """Return the number of statements of the micro-batch."""
    seen: list[str] = []

    def record(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(harness.engine.sync_engine, "before_cursor_execute", record)
    try:
        await harness.together(*records)
    finally:
        event.remove(harness.engine.sync_engine, "before_cursor_execute", record)
    return len(seen)


async def ids(harness: BatchHarness) -> list[str]:
    return [one.event_id for one in await harness.outbox_events()]
