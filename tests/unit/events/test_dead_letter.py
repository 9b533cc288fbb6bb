"""A dead letter event is the original record unchanged, or it names its omissions."""

import hashlib
from dataclasses import replace

import pytest

from els_stream.events import topics
from els_stream.events.dead_letter import dead_letter
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.event_ids import event_id
from els_stream.events.outbound_event import MAX_RECORD_BYTES, OutboundEvent
from els_stream.events.records import RawRecord
from tests.support import factories as make
from tests.support.invalid_records import CASES, InvalidRecordCase

HEADERS = (("ce_id", b"theirs"), ("twice", b"\x00"), ("twice", b"\xff"))


def dead_letter_of(record: RawRecord) -> OutboundEvent:
    return dead_letter(record, DeadLetterReason.NOT_JSON, "not JSON")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_key_value_and_headers_are_unchanged(case: InvalidRecordCase) -> None:
    event = dead_letter_of(make.record(case.topic, case.value, key=case.key, headers=HEADERS))

    assert (event.key, event.value, event.headers[:3]) == (case.key, case.value, HEADERS)


def test_each_record_has_one_dead_letter_id() -> None:
    record = make.record(topics.CONTENT_PROVISIONED, b"x", offset=7)
    others = [replace(record, offset=8), replace(record, partition=1), replace(record, timestamp=1)]

    assert dead_letter_of(record) == dead_letter_of(record)
    assert len({dead_letter_of(other).event_id for other in [record, *others]}) == 4


def test_the_id_depends_on_the_batch_if_it_is_known() -> None:
    record = make.record(topics.CONTENT_PROVISIONED, b"x", offset=7)
    event = dead_letter(record, DeadLetterReason.BATCH_PURGED, "gone", batch_id="b|1")
    subject = "huleedu.file.essay.content.provisioned.v1/0/7/1769860800000"

    assert event.event_id == event_id(topics.DEAD_LETTER, "b|1", subject)


def test_a_long_message_is_truncated() -> None:
    record = make.record(topics.CONTENT_PROVISIONED, b"x")
    headers = dict(dead_letter(record, DeadLetterReason.NOT_JSON, "å" * 2000).headers)

    assert headers["dlq_message"] == "å".encode() * 512


def test_a_value_too_large_to_send_is_replaced_by_size_and_hash() -> None:
    value = b"[" * MAX_RECORD_BYTES
    event = dead_letter_of(make.record(topics.CONTENT_PROVISIONED, value, key=b"k", headers=HEADERS))

    assert event.value is None
    assert event.key == b"k"
    assert event.headers[:3] == HEADERS
    assert event.headers[-3:] == (
        ("dlq_value_omitted", b"true"),
        ("dlq_value_size", str(len(value)).encode()),
        ("dlq_value_sha256", hashlib.sha256(value).hexdigest().encode()),
    )


def test_the_largest_record_that_fits_is_sent_whole() -> None:
    record = make.record(topics.CONTENT_PROVISIONED, b"")
    room = MAX_RECORD_BYTES - dead_letter_of(record).size

    assert dead_letter_of(replace(record, value=b"x" * room)).value == b"x" * room
    assert dead_letter_of(replace(record, value=b"x" * (room + 1))).value is None


def test_headers_and_key_too_large_to_send_are_left_out() -> None:
    huge = b"x" * MAX_RECORD_BYTES
    headers = dead_letter_of(make.record(topics.CONTENT_PROVISIONED, huge, key=b"k", headers=(("huge", huge),)))
    key = dead_letter_of(make.record(topics.CONTENT_PROVISIONED, b"x", key=huge))

    assert headers.key == b"k"
    assert dict(headers.headers)["dlq_headers_omitted"] == b"true"
    assert key.key is None
    assert dict(key.headers)["dlq_key_omitted"] == b"true"
    assert max(headers.size, key.size) < MAX_RECORD_BYTES
    assert {"ce_id", "dlq_reason", "dlq_value_sha256"} <= dict(key.headers).keys() & dict(headers.headers).keys()
