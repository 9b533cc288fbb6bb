"""The events that follow from new facts, as outbox events numbered from the next sequence of the tracker.

`domain.published_events` has the rule which events follow; here are their payloads.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, assert_never

from els_stream.domain.batch import BatchBecameReady, ContentBecameComplete, ContentWasExcess, SlotWasAssigned
from els_stream.errors import InventoryMismatch
from els_stream.events import builders
from els_stream.events.builders import FailedSlot
from els_stream.events.fields import ERROR_DETAIL, LARGEST_INTEGER, STORAGE_REFERENCES, StorageReferenceMetadata
from els_stream.events.input_timestamp import truncate_timestamp
from els_stream.events.outbound_event import EventContext, OutboundEvent
from els_stream.queries.outbox_rows import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from els_stream.domain.allocation import Allocation
    from els_stream.domain.batch import Fact, SourceRecord
    from els_stream.queries.slots import SlotOfFailure

FieldT = TypeVar("FieldT")

_MANY_DIGITS = re.compile("[0-9]{19}")


@dataclass(frozen=True, slots=True)
class EssayLists:
    """Lists for the events that end a batch, by batch id: (essay id, text id) of filled slots, and failed slots."""

    filled: Mapping[str, Sequence[tuple[str, str]]]
    failed: Mapping[str, Sequence[SlotOfFailure]]


def outbox_rows(allocation: Allocation, lists: EssayLists) -> list[OutboxRow]:
    """Return the outbox events of all new facts of the batch, and advance its next sequence."""
    batch = allocation.batch
    rows = []
    for fact in allocation.facts:
        timestamp = None if fact.source is None else truncate_timestamp(fact.source.timestamp)
        for event in _events(allocation, fact, lists):
            rows.append(OutboxRow(batch.batch_id, batch.next_sequence, event, timestamp))
            batch.next_sequence += 1
    return rows


def _events(allocation: Allocation, fact: Fact, lists: EssayLists) -> Iterator[OutboundEvent]:
    match fact:
        case SlotWasAssigned(slot, content):
            yield builders.slot_assigned(
                _context(allocation, content.correlation_id, fact.source),
                essay_id=slot.essay_id,
                file_upload_id=content.event.file_upload_id,
                text_storage_id=content.event.text_storage_id,
                original_file_name=content.event.original_file_name,
            )
        case ContentWasExcess(content):
            yield builders.excess_content(
                _context(allocation, content.correlation_id, fact.source),
                text_storage_id=content.event.text_storage_id,
                original_file_name=content.event.original_file_name,
            )
        case ContentBecameComplete():
            yield from _completion(allocation, fact.source, lists)
        case BatchBecameReady():
            batch = allocation.batch
            yield builders.essays_ready(
                _batch_context(allocation, fact.source),
                essays=lists.filled.get(batch.batch_id, ()),
                course_code=_required(batch.course_code),
                student_prompt_ref=_prompt(batch.student_prompt_ref),
            )
        case _:
            assert_never(fact)


def _completion(allocation: Allocation, source: SourceRecord | None, lists: EssayLists) -> Iterator[OutboundEvent]:
    batch = allocation.batch
    essays = lists.filled.get(batch.batch_id, ())
    if failed := lists.failed.get(batch.batch_id):
        yield builders.validation_errors(
            _batch_context(allocation, source), [_failed_slot(f) for f in failed], provisioned_count=len(essays)
        )
    yield builders.provisioning_completed(
        _batch_context(allocation, source),
        essays=essays,
        expected_count=batch.expected,
        course_code=_required(batch.course_code),
        user_id=_required(batch.user_id),
    )


def _failed_slot(failure: SlotOfFailure) -> FailedSlot:
    return FailedSlot(
        essay_id=failure.essay_id,
        file_name=failure.file_name,
        error_code=failure.error_code,
        error_detail=ERROR_DETAIL.validate_json(_normalize_numbers(failure.error_detail)),
        failed_at=failure.failed_at,
    )


def _normalize_numbers(stored: str) -> str:
    """Write integers of more than 64 bits as floats: PostgreSQL writes all digits of 1e300, and readers reject them."""
    return json.dumps(json.loads(stored, parse_int=_number)) if _MANY_DIGITS.search(stored) else stored


def _number(digits: str) -> int | float:
    number = int(digits)
    return number if -LARGEST_INTEGER - 1 <= number <= LARGEST_INTEGER else float(digits)


def _prompt(stored: dict[str, object] | None) -> StorageReferenceMetadata | None:
    return None if stored is None else STORAGE_REFERENCES.validate_python(stored, strict=False)


def _batch_context(allocation: Allocation, source: SourceRecord | None) -> EventContext:
    """Return the context of a batch-level event: the correlation id of the registration, the trace of its cause."""
    return _context(allocation, _required(allocation.batch.correlation_id), source)


def _context(allocation: Allocation, correlation_id: UUID, source: SourceRecord | None) -> EventContext:
    return EventContext(
        batch_id=allocation.batch.batch_id,
        correlation_id=correlation_id,
        now=allocation.now,
        traceparent=None if source is None else source.traceparent,
    )


def _required(value: FieldT | None) -> FieldT:
    """Return a field that every registered batch has, by a CHECK of the database. Raises InventoryMismatch."""
    if value is None:
        msg = "a registered batch lacks a field of its registration"
        raise InventoryMismatch(msg)
    return value
