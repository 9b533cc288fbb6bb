"""Replayed, discarded and deleted dead letters: a record is never lost between two of its dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.records import RawRecord
from els_stream.maintenance.replay import Accepted, FailedAgain, NotReplayable, Replayed, fail_replay, replay
from els_stream.queries import dead_letter_admin
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness, handlers_by_topic

CLASS = "class-9b"
OLD = timedelta(days=90)


async def replayed(harness: BatchHarness, dead_letter_id: int) -> Replayed:
    async with harness.engine.begin() as conn:
        return await replay(conn, harness.handlers, dead_letter_id)


async def states(harness: BatchHarness) -> list[tuple[str, str, int | None]]:
    rows = await harness.rows("SELECT reason, state, replay_of FROM dead_letters ORDER BY id")
    return [(row.reason, row.state, row.replay_of) for row in rows]


async def refuse(harness: BatchHarness, record: RawRecord) -> int:
    assert await harness.together(record) == ["dead_letter"]
    return int((await harness.rows("SELECT max(id) FROM dead_letters"))[0][0])


async def open_dead_letter(harness: BatchHarness) -> int:
    (row,) = await harness.rows("SELECT id FROM dead_letters WHERE state = 'open'")
    return int(row.id)


@pytest.fixture
async def early_bird(harness: BatchHarness) -> int:
    """A dead letter of associations that came before the batch was of their class."""
    await harness.together(harness.registration(essays=1, class_id="class-8a"))
    return await refuse(harness, harness.associations(1))


async def test_a_replayed_record_is_applied_as_if_it_came_now(harness: BatchHarness, early_bird: int) -> None:
    await harness.execute("UPDATE batch_essay_trackers SET class_id = :class_id", class_id=CLASS)

    assert await replayed(harness, early_bird) == Accepted("associations_confirmed")

    assert (await harness.tracker()).associations_confirmed_at is not None
    assert await states(harness) == [("class_mismatch", "replayed", None)]
    assert await harness.rows("SELECT 1 FROM consumed_offsets") == []


async def test_a_record_that_fails_again_gets_another_dead_letter_without_event(
    harness: BatchHarness, early_bird: int
) -> None:
    result = await replayed(harness, early_bird)

    assert isinstance(result, FailedAgain)
    assert result.reason is DeadLetterReason.CLASS_MISMATCH
    assert await states(harness) == [
        ("class_mismatch", "replayed", None),
        ("class_mismatch", "open", early_bird),
    ]
    assert len(await harness.outbox_events()) == 1


async def test_each_further_dead_letter_links_to_the_first_and_one_is_open(
    harness: BatchHarness, early_bird: int
) -> None:
    for _ in range(3):
        await replayed(harness, await open_dead_letter(harness))

    assert [(state, first) for _, state, first in await states(harness)] == [
        ("replayed", None),
        ("replayed", early_bird),
        ("replayed", early_bird),
        ("open", early_bird),
    ]


async def test_the_record_of_a_second_dead_letter_is_the_same_to_the_byte(
    harness: BatchHarness, early_bird: int
) -> None:
    await replayed(harness, early_bird)

    async with harness.engine.connect() as conn:
        first, second = [
            await dead_letter_admin.read(conn, dead_letter)
            for dead_letter in (early_bird, await open_dead_letter(harness))
        ]
    assert first is not None
    assert second is not None
    assert (first.record, first.value_sha256) == (second.record, second.value_sha256)


async def test_a_dead_letter_is_replayed_once(harness: BatchHarness, early_bird: int) -> None:
    await replayed(harness, early_bird)

    assert await replayed(harness, early_bird) == NotReplayable("it is replayed")
    assert await replayed(harness, 4711) == NotReplayable("there is no such dead letter")


async def test_two_concurrent_replays_of_one_dead_letter_apply_it_once(harness: BatchHarness, early_bird: int) -> None:
    results = await asyncio.gather(*(replayed(harness, early_bird) for _ in range(4)))

    assert sum(isinstance(result, FailedAgain) for result in results) == 1
    assert len(await states(harness)) == 2


async def test_a_replay_that_is_rolled_back_leaves_the_dead_letter_open(harness: BatchHarness, early_bird: int) -> None:
    async with harness.engine.connect() as conn:
        await replay(conn, harness.handlers, early_bird)
        await conn.rollback()

    assert await states(harness) == [("class_mismatch", "open", None)]


async def test_a_dead_letter_without_its_payload_cannot_be_replayed(harness: BatchHarness, early_bird: int) -> None:
    await harness.execute("UPDATE dead_letters SET value = NULL")

    assert await replayed(harness, early_bird) == NotReplayable("its payload was removed")


async def test_a_dead_letter_without_a_value_from_the_start_fails_again(harness: BatchHarness) -> None:
    dead_letter = await refuse(harness, harness.record(topics.CONTENT_PROVISIONED, None))

    result = await replayed(harness, dead_letter)

    assert isinstance(result, FailedAgain)
    assert result.reason is DeadLetterReason.VALUE_MISSING


async def test_an_event_that_is_replayed_pending_and_expired_is_not_lost(harness: BatchHarness) -> None:
    """Between its two dead letters the record is pending: the second must not be taken for a repeat of the first."""
    harness.handlers = handlers_by_topic(max_pending=1)
    await harness.together(harness.content(0))
    dead_letter = await refuse(harness, harness.content(1))
    harness.handlers = handlers_by_topic()
    assert await replayed(harness, dead_letter) == Accepted("pending")

    await harness.together(
        harness.registration(essays=2)
    )  # applies the pending event, which is refused for another reason
    assert await states(harness) == [("too_many_parked", "replayed", None)]
    assert await harness.counts() == ("completed", 0, 2, 0, 0)


async def test_a_pending_replay_that_its_registration_refuses_gets_a_dead_letter(harness: BatchHarness) -> None:
    harness.handlers = handlers_by_topic(max_pending=1)
    await harness.together(harness.content(0))
    dead_letter = await refuse(harness, harness.associations(["an-essay-of-9a"]))
    harness.handlers = handlers_by_topic()
    assert await replayed(harness, dead_letter) == Accepted("pending")

    await harness.together(harness.registration(essays=2, class_id=CLASS))

    assert await states(harness) == [
        ("too_many_parked", "replayed", None),
        ("unknown_essay", "open", dead_letter),
    ]


async def test_a_redelivery_of_an_open_or_discarded_record_adds_no_dead_letter(harness: BatchHarness) -> None:
    record = harness.record(topics.CONTENT_PROVISIONED, b"Dear Sir or Madam,")
    dead_letter = await refuse(harness, record)
    await refuse(harness, record)
    async with harness.engine.begin() as conn:
        assert await dead_letter_admin.discard(conn, [dead_letter], "spam") == [dead_letter]
    await refuse(harness, record)

    assert await states(harness) == [("not_json", "discarded", None)]


async def test_a_handler_that_raises_leaves_another_dead_letter_with_the_cause(
    harness: BatchHarness, early_bird: int
) -> None:
    async with harness.engine.begin() as conn:
        await fail_replay(conn, early_bird, DeadLetterReason.UNPROCESSABLE, "ZeroDivisionError")

    assert await states(harness) == [
        ("class_mismatch", "replayed", None),
        ("unprocessable", "open", early_bird),
    ]


async def test_a_discarded_dead_letter_keeps_size_and_hash_but_no_payload(harness: BatchHarness) -> None:
    dead_letter = await refuse(harness, harness.record(topics.CONTENT_PROVISIONED, b"Dear Sir or Madam,", b"key"))

    async with harness.engine.begin() as conn:
        assert await dead_letter_admin.discard(conn, [dead_letter, 4711], "discarded by ada: spam") == [dead_letter]
        assert await dead_letter_admin.discard(conn, [dead_letter], "again") == []

    async with harness.engine.connect() as conn:
        found = await dead_letter_admin.read(conn, dead_letter)
    assert found is not None
    assert (found.record.key, found.record.value, found.record.headers) == (None, None, ())
    assert (found.summary.state, found.summary.value_size) == ("discarded", 18)
    assert found.summary.resolved_at is not None
    assert found.summary.message.endswith("[discarded by ada: spam]")
    assert await replayed(harness, dead_letter) == NotReplayable("it is discarded")


async def age(harness: BatchHarness, dead_letter: int, days: float) -> None:
    await harness.execute(
        "UPDATE dead_letters SET created_at = now() - make_interval(secs => :seconds) WHERE id = :id",
        seconds=days * 86400,
        id=dead_letter,
    )


async def delete_old(conn: AsyncConnection, limit: int = 100) -> int:
    return await dead_letter_admin.delete_old(conn, OLD, limit)


async def ids(harness: BatchHarness) -> Sequence[int]:
    return [row.id for row in await harness.rows("SELECT id FROM dead_letters ORDER BY id")]


async def test_old_dead_letters_of_any_state_are_deleted_in_bounded_steps(harness: BatchHarness) -> None:
    found = [
        await refuse(harness, harness.record(topics.CONTENT_PROVISIONED, b"Dear %d," % number)) for number in range(5)
    ]
    for dead_letter, days in zip(found, (91, 89.9, 200, 90.1, 0), strict=True):
        await age(harness, dead_letter, days)

    async with harness.all_sent(), harness.engine.begin() as conn:
        assert [await delete_old(conn, 2), await delete_old(conn, 2), await delete_old(conn, 2)] == [2, 1, 0]
    assert await ids(harness) == [found[1], found[4]]
    await harness.empty_outbox()
    await harness.execute("DELETE FROM dead_letters")


@pytest.mark.usefixtures("early_bird")
async def test_dead_letters_of_one_record_are_deleted_together(harness: BatchHarness) -> None:
    for days in (300, 200):
        dead_letter = await open_dead_letter(harness)
        await replayed(harness, dead_letter)
        await age(harness, dead_letter, days)
    async with harness.engine.begin() as conn:
        assert await delete_old(conn) == 0

    await age(harness, await open_dead_letter(harness), 91)
    async with harness.engine.begin() as conn:
        assert await delete_old(conn) == 3
    await harness.empty_outbox()


async def test_a_second_dead_letter_has_the_batch_id_too(harness: BatchHarness, early_bird: int) -> None:
    await replayed(harness, early_bird)

    rows = await harness.rows("SELECT batch_id FROM dead_letters")
    assert [row.batch_id for row in rows] == [make.BATCH, make.BATCH]
