"""The transcript against the promises: every difference is one line, and no line means that all is right."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from els_stream.demo.observations import ObservedBatch
from els_stream.events import topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from els_stream.demo.expectations import Expectation, Poison, Traffic
    from els_stream.demo.observations import Observations
    from els_stream.events.outbound import EssayProcessingInputRefV1
    from els_stream.events.records import RawRecord

_VALUE_SHOWN: Final = 60


def differences(traffic: Traffic, transcript: Observations) -> list[str]:
    tales, found = transcript.tales()
    found = [*transcript.differences, *found]
    for promise in traffic.promises:
        tale = tales.pop(promise.batch_id, ObservedBatch())
        found += [f"{promise.batch_id} ({promise.story}): {line}" for line in _of_batch(promise, tale)]
    found += [f"{batch_id}: nobody sent anything about this batch" for batch_id in tales]
    found += _of_letters(traffic.poison, transcript.letters())
    return found


def _of_batch(promise: Expectation, tale: ObservedBatch) -> Iterator[str]:
    yield from _counts(promise, tale)
    yield from _slots(promise, tale)
    yield from _excess(promise, tale)
    yield from _completion(promise, tale)
    yield from _errors(promise, tale)
    yield from _timeouts(promise, tale)
    yield from _order(tale)


def _counts(promise: Expectation, tale: ObservedBatch) -> Iterator[str]:
    """The number assigned may lie within bounds; every other number follows from it."""
    assigned = len(tale.assigned)
    if assigned not in promise.assigned:
        yield f"{assigned} slots assigned, not {promise.assigned}"
    excess = len(promise.contents) - assigned if promise.full else 0
    for name, events, due in (
        ("excess", tale.excess, excess),
        ("completed", tale.completed, int(promise.full)),
        ("ready", tale.ready, int(promise.ready(assigned))),
        ("validation errors", tale.errors, int(promise.full and assigned < promise.slots)),
    ):
        if len(events) != due:
            yield f"{len(events)} events of {name}, not {due}"
    if len(tale.timeouts) not in promise.timeouts:
        yield f"{len(tale.timeouts)} events of readiness timeout, not {promise.timeouts}"


def _slots(promise: Expectation, tale: ObservedBatch) -> Iterator[str]:
    events = [told.data for told in tale.assigned]
    yield from _repeated("slot", (event.essay_id for event in events), "was assigned")
    yield from _repeated("content", (event.text_storage_id for event in events), "was assigned")
    yield from _repeated("upload", (event.file_upload_id for event in events), "was assigned")
    for told in tale.assigned:
        event = told.data
        if event.essay_id not in promise.essay_ids:
            yield f"slot {event.essay_id} is not of this batch"
        sent = (event.file_upload_id, event.original_file_name, told.correlation_id)
        known = promise.contents.get(event.text_storage_id, ())
        if sent not in [(u.upload_id, u.file_name, u.correlation_id) for u in known]:
            yield f"content {event.text_storage_id} was assigned otherwise than it was sent"
        if event.correlation_id != told.correlation_id:
            yield f"content {event.text_storage_id} was assigned under two correlation ids"


def _excess(promise: Expectation, tale: ObservedBatch) -> Iterator[str]:
    assigned = {told.data.text_storage_id for told in tale.assigned}
    yield from _repeated("content", (told.data.text_storage_id for told in tale.excess), "was excess")
    for told in tale.excess:
        event = told.data
        if event.text_storage_id in assigned:
            yield f"content {event.text_storage_id} has two fates"
        known = promise.contents.get(event.text_storage_id, ())
        if (event.original_file_name, told.correlation_id) not in [(u.file_name, u.correlation_id) for u in known]:
            yield f"content {event.text_storage_id} was excess otherwise than it was sent"


def _completion(promise: Expectation, tale: ObservedBatch) -> Iterator[str]:
    held = sorted((told.data.essay_id, told.data.text_storage_id) for told in tale.assigned)
    for completed in tale.completed:
        event = completed.data
        if _pairs(event.essays_for_processing) != held or event.provisioned_count != len(held):
            yield f"completed with {event.provisioned_count} essays, which are not the {len(held)} assigned"
        if (event.expected_count, event.course_code, event.user_id) != (promise.slots, promise.course, promise.user):
            yield "completed with another count, course or user than was registered"
        if completed.correlation_id != promise.correlation_id:
            yield "completed under another correlation id than was registered"
    for ready in tale.ready:
        if _pairs(ready.data.ready_essays) != held:
            yield f"ready with {len(ready.data.ready_essays)} essays, which are not the {len(held)} assigned"
        if (ready.data.course_code, ready.correlation_id) != (promise.course, promise.correlation_id):
            yield "ready with another course or correlation id than was registered"


def _errors(promise: Expectation, tale: ObservedBatch) -> Iterator[str]:
    held = {told.data.essay_id for told in tale.assigned}
    sent = Counter((failed.file_name, failed.code) for failed in promise.failures.values())
    for told in tale.errors:
        event = told.data
        slots = {failed.essay_id for failed in event.failed_essays}
        if len(slots) != len(event.failed_essays) or slots != promise.essay_ids - held:
            yield f"validation errors in {len(slots)} slots, which are not the {promise.slots - len(held)} others"
        if Counter((f.file_name, f.error_detail.error_code) for f in event.failed_essays) - sent:
            yield "validation errors of files that did not fail like that"
        categories = Counter(failed.error_detail.error_code for failed in event.failed_essays)
        summary = event.error_summary
        if (summary.total_errors, summary.error_categories) != (len(event.failed_essays), categories):
            yield "validation errors whose summary adds up to something else"
        if summary.critical_failure is not (not held):
            yield "validation errors that are critical with essays there, or not without any"


def _timeouts(promise: Expectation, tale: ObservedBatch) -> Iterator[str]:
    for event in (told.data for told in tale.timeouts):
        there = {essay.essay_id: essay.text_storage_id for essay in event.ready_essays}
        missing = set(event.missing_essay_ids)
        if event.expected_count != promise.slots or event.actual_count != len(there):
            yield f"the timeout counts {event.actual_count} of {event.expected_count}"
        if missing & there.keys() or not missing | there.keys() <= promise.essay_ids or not missing:
            yield "the timeout tells of other slots than those that are there and those that are missing"
        if not set(there.values()) <= promise.contents.keys():
            yield "the timeout names texts that nobody sent"


def _order(tale: ObservedBatch) -> Iterator[str]:
    """Topics share no offsets, so order is told by the time at which the first copy of each was sent."""
    ranks = (
        ("assigned", [told.at for told in tale.assigned]),
        ("validation errors", [told.at for told in tale.errors]),
        ("completed", [told.at for told in tale.completed]),
        ("ready", [told.at for told in tale.ready]),
    )
    for position, (later, moments) in enumerate(ranks):
        for earlier, before in ranks[:position]:
            if moments and before and min(moments) < max(before):
                yield f"{later} was sent before {earlier}"
    if tale.completed and any(told.at < tale.completed[0].at for told in tale.excess):
        yield "excess was sent before completed"


def _of_letters(poison: Sequence[Poison], letters: Sequence[RawRecord]) -> Iterator[str]:
    """By topic, key, bytes and reason; which offset it lay at is the broker's affair."""
    found = Counter(_letter(letter) for letter in letters)
    for expected in poison:
        message = expected.message
        letter = (message.topic, message.key, message.value, expected.reason.value)
        count = found.pop(letter, 0)
        if count not in expected.letters:
            yield f"{topics.DEAD_LETTER}: {count} of {_shown(*letter)}, not {expected.letters}"
    for letter, count in found.items():
        yield f"{topics.DEAD_LETTER}: {count} of {_shown(*letter)}, which nobody expected"


def _letter(record: RawRecord) -> tuple[str, bytes | None, bytes | None, str]:
    told = {name: value.decode(errors="replace") for name, value in record.headers}
    return told.get("dlq_topic", ""), record.key, record.value, told.get("dlq_reason", "")


def _shown(topic: str, key: bytes | None, value: bytes | None, reason: str) -> str:
    return f"{reason} from {topic}, key {key!r}, {(value or b'')[:_VALUE_SHOWN]!r}"


def _pairs(references: Iterable[EssayProcessingInputRefV1]) -> list[tuple[str, str]]:
    return [(reference.essay_id, reference.text_storage_id) for reference in references]


def _repeated(kind: str, ids: Iterable[str], what: str) -> Iterator[str]:
    for identity, count in Counter(ids).items():
        if count > 1:
            yield f"{kind} {identity} {what} {count} times"
