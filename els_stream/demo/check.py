"""Compares the published events with the expected ones: one line for each difference."""

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


def differences(traffic: Traffic, observations: Observations) -> list[str]:
    """Return one line for each difference; none if all events are as expected."""
    batches, found = observations.batches()
    found = [*observations.differences, *found]
    for expectation in traffic.expectations:
        batch = batches.pop(expectation.batch_id, ObservedBatch())
        found += [
            f"{expectation.batch_id} ({expectation.scenario}): {line}" for line in _check_batch(expectation, batch)
        ]
    found += [f"{batch_id}: no record of this batch was sent" for batch_id in batches]
    found += _dead_letters(traffic.poison, observations.dead_letters())
    return found


def _check_batch(expectation: Expectation, batch: ObservedBatch) -> Iterator[str]:
    yield from _counts(expectation, batch)
    yield from _slots(expectation, batch)
    yield from _excess(expectation, batch)
    yield from _completion(expectation, batch)
    yield from _errors(expectation, batch)
    yield from _timeouts(expectation, batch)
    yield from _order(batch)


def _counts(expectation: Expectation, batch: ObservedBatch) -> Iterator[str]:
    """Check the counts: that of assigned slots is a range, and every other count follows from it."""
    assigned = len(batch.assigned)
    if assigned not in expectation.assigned:
        yield f"{assigned} slots assigned, not {expectation.assigned}"
    excess = max(0, len(expectation.contents) - assigned) if expectation.full else 0
    for name, events, due in (
        ("excess", batch.excess, excess),
        ("completed", batch.completed, int(expectation.full)),
        ("ready", batch.ready, int(expectation.ready(assigned))),
        ("validation errors", batch.errors, int(expectation.full and assigned < expectation.slots)),
    ):
        if len(events) != due:
            yield f"{len(events)} events of {name}, not {due}"
    if len(batch.timeouts) not in expectation.timeouts:
        yield f"{len(batch.timeouts)} events of readiness timeout, not {expectation.timeouts}"


def _slots(expectation: Expectation, batch: ObservedBatch) -> Iterator[str]:
    events = [observed.data for observed in batch.assigned]
    yield from _repeated("slot", (event.essay_id for event in events), "was assigned")
    yield from _repeated("content", (event.text_storage_id for event in events), "was assigned")
    yield from _repeated("upload", (event.file_upload_id for event in events), "was assigned")
    for observed in batch.assigned:
        event = observed.data
        if event.essay_id not in expectation.essay_ids:
            yield f"slot {event.essay_id} is not of this batch"
        sent = (event.file_upload_id, event.original_file_name, observed.correlation_id)
        known = expectation.contents.get(event.text_storage_id, ())
        if sent not in [(u.upload_id, u.file_name, u.correlation_id) for u in known]:
            yield f"content {event.text_storage_id} was assigned with other fields than it was sent"
        if event.correlation_id != observed.correlation_id:
            yield f"content {event.text_storage_id} was assigned under two correlation ids"


def _excess(expectation: Expectation, batch: ObservedBatch) -> Iterator[str]:
    assigned = {observed.data.text_storage_id for observed in batch.assigned}
    yield from _repeated("content", (observed.data.text_storage_id for observed in batch.excess), "was excess")
    for observed in batch.excess:
        event = observed.data
        if event.text_storage_id in assigned:
            yield f"content {event.text_storage_id} is both assigned and excess"
        known = expectation.contents.get(event.text_storage_id, ())
        if (event.original_file_name, observed.correlation_id) not in [(u.file_name, u.correlation_id) for u in known]:
            yield f"content {event.text_storage_id} was excess with other fields than it was sent"


def _completion(expectation: Expectation, batch: ObservedBatch) -> Iterator[str]:
    assigned = sorted((observed.data.essay_id, observed.data.text_storage_id) for observed in batch.assigned)
    for completed in batch.completed:
        event = completed.data
        if _pairs(event.essays_for_processing) != assigned or event.provisioned_count != len(assigned):
            yield f"completed with {event.provisioned_count} essays, which are not the {len(assigned)} assigned"
        if (event.expected_count, event.course_code, event.user_id) != (
            expectation.slots,
            expectation.course,
            expectation.user,
        ):
            yield "completed with another count, course or user than was registered"
        if completed.correlation_id != expectation.correlation_id:
            yield "completed under another correlation id than was registered"
    for ready in batch.ready:
        if _pairs(ready.data.ready_essays) != assigned:
            yield f"ready with {len(ready.data.ready_essays)} essays, which are not the {len(assigned)} assigned"
        if (ready.data.course_code, ready.correlation_id) != (expectation.course, expectation.correlation_id):
            yield "ready with another course or correlation id than was registered"


def _errors(expectation: Expectation, batch: ObservedBatch) -> Iterator[str]:
    assigned = {observed.data.essay_id for observed in batch.assigned}
    sent = Counter((failed.file_name, failed.code) for failed in expectation.failures.values())
    for observed in batch.errors:
        event = observed.data
        slots = {failed.essay_id for failed in event.failed_essays}
        if len(slots) != len(event.failed_essays) or slots != expectation.essay_ids - assigned:
            others = expectation.slots - len(assigned)
            yield f"validation errors in {len(slots)} slots, which are not the {others} others"
        if Counter((f.file_name, f.error_detail.error_code) for f in event.failed_essays) - sent:
            yield "validation errors of files that did not fail with that code"
        categories = Counter(failed.error_detail.error_code for failed in event.failed_essays)
        summary = event.error_summary
        if (summary.total_errors, summary.error_categories) != (len(event.failed_essays), categories):
            yield "validation errors with a wrong summary"
        if summary.critical_failure is not (not assigned):
            yield "validation errors with a wrong critical_failure"


def _timeouts(expectation: Expectation, batch: ObservedBatch) -> Iterator[str]:
    for event in (observed.data for observed in batch.timeouts):
        there = {essay.essay_id: essay.text_storage_id for essay in event.ready_essays}
        missing = set(event.missing_essay_ids)
        if event.expected_count != expectation.slots or event.actual_count != len(there):
            yield f"the timeout has counts {event.actual_count} of {event.expected_count}"
        if missing & there.keys() or not missing | there.keys() <= expectation.essay_ids or not missing:
            yield "the timeout has other slots than those of the batch"
        if not set(there.values()) <= expectation.contents.keys():
            yield "the timeout has texts that were not sent"


def _order(batch: ObservedBatch) -> Iterator[str]:
    """Check the order of events. Offsets of topics cannot be compared, so timestamps of the first copies are."""
    ranks = (
        ("assigned", [observed.at for observed in batch.assigned]),
        ("validation errors", [observed.at for observed in batch.errors]),
        ("completed", [observed.at for observed in batch.completed]),
        ("ready", [observed.at for observed in batch.ready]),
    )
    for position, (later, moments) in enumerate(ranks):
        for earlier, before in ranks[:position]:
            if moments and before and min(moments) < max(before):
                yield f"{later} was sent before {earlier}"
    if batch.completed and any(observed.at < batch.completed[0].at for observed in batch.excess):
        yield "excess was sent before completed"


def _dead_letters(poison: Sequence[Poison], dead_letters: Sequence[RawRecord]) -> Iterator[str]:
    """Compare dead letters by topic, key, bytes and reason."""
    found = Counter(_content_of(dead_letter) for dead_letter in dead_letters)
    for expected in poison:
        message = expected.message
        content = (message.topic, message.key, message.value, expected.reason.value)
        count = found.pop(content, 0)
        if count not in expected.dead_letters:
            yield f"{topics.DEAD_LETTER}: {count} of {_shown(*content)}, not {expected.dead_letters}"
    for content, count in found.items():
        yield f"{topics.DEAD_LETTER}: {count} of {_shown(*content)}, not expected"


def _content_of(record: RawRecord) -> tuple[str, bytes | None, bytes | None, str]:
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    return headers.get("dlq_topic", ""), record.key, record.value, headers.get("dlq_reason", "")


def _shown(topic: str, key: bytes | None, value: bytes | None, reason: str) -> str:
    return f"{reason} from {topic}, key {key!r}, {(value or b'')[:_VALUE_SHOWN]!r}"


def _pairs(references: Iterable[EssayProcessingInputRefV1]) -> list[tuple[str, str]]:
    return [(reference.essay_id, reference.text_storage_id) for reference in references]


def _repeated(kind: str, ids: Iterable[str], verb: str) -> Iterator[str]:
    for identity, count in Counter(ids).items():
        if count > 1:
            yield f"{kind} {identity} {verb} {count} times"
