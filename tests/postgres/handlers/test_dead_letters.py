from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import pytest

from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.event_ids import event_id
from els_stream.events.headers import decode_headers
from els_stream.events.records import RawRecord
from els_stream.handlers.dead_letters import dead_letter_records
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness
from tests.support.invalid_records import CASES

HEADERS = (("trace", b"\x00\xff"), ("trace", b"again"), ("smörgås", b""))

RECORD = RawRecord(topics.CONTENT_PROVISIONED, 3, 14, 1769860800000, b"\xff\x00", b"Dear Sir or Madam,", HEADERS)


async def test_a_dead_letter_keeps_the_original_bytes_key_headers_and_position(harness: BatchHarness) -> None:
    record = RECORD

    assert await harness.together(record) == ["dead_letter"]

    (row,) = await harness.rows("SELECT * FROM dead_letters")
    assert (row.reason, row.state, row.batch_id) == ("not_json", "open", None)
    assert (row.source_topic, row.source_partition, row.source_offset) == (topics.CONTENT_PROVISIONED, 3, 14)
    assert row.source_timestamp == 1769860800000
    assert (row.key, row.value) == (record.key, record.value)
    assert decode_headers(row.headers) == HEADERS
    assert row.value_size == len(b"Dear Sir or Madam,")
    assert row.value_sha256 == hashlib.sha256(b"Dear Sir or Madam,").digest()
    assert row.message


async def test_its_event_carries_the_same_bytes_the_reason_and_the_position(harness: BatchHarness) -> None:
    record = RECORD
    await harness.together(record)

    (event,) = await harness.outbox_events()
    assert (event.kind, event.key, event.value) == ("dead letter", record.key, record.value)
    source = f"{topics.CONTENT_PROVISIONED}/3/14/1769860800000"
    assert event.event_id == str(event_id(topics.DEAD_LETTER, "", source))
    assert event.headers["dlq_reason"] == b"not_json"
    assert event.headers["dlq_topic"] == topics.CONTENT_PROVISIONED.encode()
    assert (event.headers["dlq_partition"], event.headers["dlq_offset"]) == (b"3", b"14")
    assert event.headers["dlq_timestamp"] == b"1769860800000"
    assert event.headers["smörgås"] == b""


async def test_a_dead_letter_creates_no_batch_and_is_its_own_order_key(harness: BatchHarness) -> None:
    await harness.together(RECORD, replace(RECORD, offset=15))

    assert await harness.rows("SELECT batch_id FROM batch_essay_trackers") == []
    published = await harness.outbox_events()
    assert len({event.order_key for event in published}) == 2
    assert {event.sequence for event in published} == {1}


async def test_a_refused_event_of_a_batch_names_the_batch(harness: BatchHarness) -> None:
    await harness.one_by_one(harness.registration(essays=1), harness.registration(essays=2))

    (row,) = await harness.rows("SELECT batch_id FROM dead_letters")
    assert row.batch_id == make.BATCH
    conflict = (await harness.outbox_events())[0]
    assert conflict.event_id == str(
        event_id(topics.DEAD_LETTER, make.BATCH, f"{topics.BATCH_REGISTERED}/0/1/1769860800000")
    )


async def test_a_missing_value_and_a_missing_key_stay_missing(harness: BatchHarness) -> None:
    await harness.together(replace(RECORD, value=None, key=None))

    (row,) = await harness.rows("SELECT * FROM dead_letters")
    assert (row.reason, row.key, row.value, row.value_size) == ("value_missing", None, None, 0)


async def test_a_redelivered_invalid_record_is_one_dead_letter_and_one_event(harness: BatchHarness) -> None:
    assert await harness.one_by_one(RECORD, RECORD) == ["dead_letter", "dead_letter"]
    assert len(await harness.reasons()) == len(await harness.outbox_events()) == 1


async def test_one_record_twice_in_a_micro_batch_is_one_dead_letter(harness: BatchHarness) -> None:
    assert await harness.together(RECORD, RECORD) == ["dead_letter", "dead_letter"]
    assert len(await harness.reasons()) == len(await harness.outbox_events()) == 1


async def test_the_same_offset_of_a_recreated_topic_is_another_dead_letter(harness: BatchHarness) -> None:
    await harness.one_by_one(RECORD, replace(RECORD, timestamp=1769860800001))

    assert len(await harness.reasons()) == len(await harness.outbox_events()) == 2


async def test_dead_letters_of_the_consumer_have_the_reason_that_it_found(harness: BatchHarness) -> None:
    records = harness.contents([0, 1])

    async with harness.engine.begin() as conn:
        await dead_letter_records(conn, records, DeadLetterReason.UNPROCESSABLE, "it made a worker stumble\n" * 100)

    rows = await harness.rows("SELECT reason, value, length(message) AS length FROM dead_letters ORDER BY id")
    assert [(row.reason, row.value, row.length) for row in rows] == [
        ("unprocessable", record.value, 1000) for record in records
    ]


async def test_every_valid_event_among_all_invalid_records_is_applied(harness: BatchHarness) -> None:
    """One micro-batch per topic: registrations, then contents, failures and associations of those batches."""
    batches = [f"sunny-side-{number}" for number in range(50)]
    good = {
        topics.BATCH_REGISTERED: [harness.registration(b, essays=3, class_id="class-9b") for b in batches],
        topics.CONTENT_PROVISIONED: [harness.content(n, b) for b in batches for n in range(2)],
        topics.VALIDATION_FAILED: [harness.failure(2, b) for b in batches],
        topics.ASSOCIATIONS_CONFIRMED: [harness.associations(3, b) for b in batches],
    }
    labels: Counter[str] = Counter()
    for topic, well_formed in good.items():
        invalid = [harness.record(topic, case.value, case.key) for case in CASES if case.topic == topic]
        labels.update(await harness.together(*between(invalid, well_formed)))

    assert labels == {
        "registered": 50,
        "assigned": 100,
        "slot_failed": 50,
        "associations_confirmed": 50,
        "dead_letter": len(CASES),
    }
    for batch_id in batches:
        assert await harness.counts(batch_id) == ("completed", 0, 2, 1, 0)
        assert await harness.kinds(batch_id) == ["assigned", "assigned", "errors", "completed", "ready"]
    assert Counter(await harness.reasons()) == Counter(case.reason.value for case in CASES)
    rows = await harness.rows("SELECT key, value FROM dead_letters ORDER BY id")
    assert [(row.key, row.value) for row in rows] == [
        (case.key, case.value) for topic in good for case in CASES if case.topic == topic
    ]


def between(invalid: list[RawRecord], good: list[RawRecord]) -> list[RawRecord]:
    """Put invalid records between the good ones, and the rest of them at the end."""
    share = max(1, len(invalid) // len(good))
    mixed: list[RawRecord] = []
    for number, event in enumerate(good):
        mixed += [*invalid[number * share : (number + 1) * share], event]
    return mixed + invalid[len(good) * share :]


async def test_a_record_that_breaks_its_contract_is_found_under_the_batch_that_it_names(harness: BatchHarness) -> None:
    """`els batch` shows the dead letters of a batch."""
    await harness.together(
        harness.content(0, file_size_bytes=-1),
        harness.content(1, text_storage_id=None),
        harness.record(topics.CONTENT_PROVISIONED, b'{"data": {"entity_id": 9}}'),
        harness.record(topics.CONTENT_PROVISIONED, b'{"data": {"entity_id": "\\u0000"}}'),
        harness.record(topics.CONTENT_PROVISIONED, b'{"data": {"entity_id": ""}}'),
    )
    await harness.together(harness.associations(class_id=7))

    rows = await harness.rows("SELECT batch_id FROM dead_letters ORDER BY id")
    assert [row.batch_id for row in rows] == [make.BATCH, make.BATCH, None, None, None, make.BATCH]
    assert await harness.rows("SELECT batch_id FROM batch_essay_trackers") == []


async def test_a_record_that_fails_alone_is_found_under_its_batch(harness: BatchHarness) -> None:
    async with harness.engine.begin() as conn:
        await dead_letter_records(conn, [harness.content(0)], DeadLetterReason.UNPROCESSABLE, "it failed")

    (row,) = await harness.rows("SELECT batch_id FROM dead_letters")
    assert row.batch_id == make.BATCH


@pytest.mark.parametrize("valid", [[], [1]], ids=["alone", "beside a valid record"])
async def test_a_purge_waits_for_the_dead_letters_of_its_batch(harness: BatchHarness, valid: list[int]) -> None:
    """Otherwise the payload of a dead letter that the purge does not see would stay."""
    await harness.together(harness.registration(essays=1))
    await harness.together(harness.registration("another", essays=1))
    records = [harness.content(0, file_size_bytes=-1), *harness.contents(valid, "another")]

    async with harness.engine.begin() as conn:
        await harness.apply(conn, records)
        rows = await harness.rows(
            "SELECT 1 FROM batch_essay_trackers WHERE batch_id = :batch_id FOR UPDATE SKIP LOCKED", batch_id=make.BATCH
        )

    assert rows == []


async def test_a_purge_waits_for_the_dead_letter_of_a_record_that_fails_alone(harness: BatchHarness) -> None:
    await harness.together(harness.registration(essays=1))

    async with harness.engine.begin() as conn:
        await dead_letter_records(conn, [harness.content(0)], DeadLetterReason.UNPROCESSABLE, "it failed")
        rows = await harness.rows(
            "SELECT 1 FROM batch_essay_trackers WHERE batch_id = :batch_id FOR UPDATE SKIP LOCKED", batch_id=make.BATCH
        )

    assert rows == []
