"""Events for the dead letter topic: the original record, its place in Kafka and the reason."""

import hashlib

from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.event_ids import dead_letter_subject, event_id
from els_stream.events.headers import Headers
from els_stream.events.outbound_event import MAX_RECORD_BYTES, OutboundEvent
from els_stream.events.records import RawRecord
from els_stream.events.truncation import truncate_text


def dead_letter(record: RawRecord, reason: DeadLetterReason, message: str, *, batch_id: str = "") -> OutboundEvent:
    """Build the dead letter event of a record. `batch_id` is empty if the record does not name its batch.

    The original headers come first and unchanged, except that a name that is not UTF-8 is escaped. Then come those of
    this service: of a repeated name the last is ours. If the event is too large to send, it leaves out the value, then
    the original headers, then the key. A header names each omission; the row in `dead_letters` has all of them.
    """
    identity = event_id(
        topics.DEAD_LETTER,
        batch_id,
        dead_letter_subject(record.topic, record.partition, record.offset, record.timestamp),
    )
    ours: Headers = (
        ("ce_id", str(identity).encode()),
        ("ce_type", topics.DEAD_LETTER.encode()),
        ("dlq_reason", reason.value.encode()),
        ("dlq_message", truncate_text(message).encode(errors="replace")),
        ("dlq_topic", record.topic.encode()),
        ("dlq_partition", b"%d" % record.partition),
        ("dlq_offset", b"%d" % record.offset),
        ("dlq_timestamp", b"%d" % record.timestamp),
    )
    return _fit_into_record(
        OutboundEvent.with_headers(
            identity, topics.DEAD_LETTER, record.key, record.value, _publishable(record.headers) + ours
        ),
        ours,
    )


def _publishable(headers: Headers) -> Headers:
    """Escape the bytes of names that are not UTF-8: a Kafka client can't send them."""
    return tuple([(name if name.isascii() else _escaped(name), value) for name, value in headers])


def _escaped(name: str) -> str:
    try:
        return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return name


def _fit_into_record(whole: OutboundEvent, ours: Headers) -> OutboundEvent:
    if whole.size <= MAX_RECORD_BYTES:
        return whole
    value = whole.value or b""
    about_value: Headers = (
        ("dlq_value_omitted", b"true"),
        ("dlq_value_size", b"%d" % len(value)),
        ("dlq_value_sha256", hashlib.sha256(value).hexdigest().encode()),
    )
    event = OutboundEvent.with_headers(whole.event_id, whole.topic, whole.key, None, whole.headers + about_value)
    if event.size > MAX_RECORD_BYTES:
        event = OutboundEvent.with_headers(
            whole.event_id, whole.topic, whole.key, None, (*ours, *about_value, ("dlq_headers_omitted", b"true"))
        )
    if event.size > MAX_RECORD_BYTES:
        event = OutboundEvent.with_headers(
            whole.event_id, whole.topic, None, None, (*event.headers, ("dlq_key_omitted", b"true"))
        )
    return event
