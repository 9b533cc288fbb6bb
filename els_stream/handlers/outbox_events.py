"""What became true of a batch, told: outbox rows in that order, numbered from the tracker's next sequence."""

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
from els_stream.queries.outbox import OutboxRow

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
    """By batch: (essay id, text id) of the slots that hold content, and the failures that hold the others."""

    filled: Mapping[str, Sequence[tuple[str, str]]]
    failed: Mapping[str, Sequence[SlotOfFailure]]


def outbox_rows(allocation: Allocation, lists: EssayLists) -> list[OutboxRow]:
    """The rows of everything that this transaction made true; the batch's next sequence moves with them."""
    batch = allocation.batch
    rows = []
    for fact in allocation.facts:
        stamp = None if fact.origin is None else truncate_timestamp(fact.origin.timestamp)
        for event in _events(allocation, fact, lists):
            rows.append(OutboxRow(batch.batch_id, batch.next_sequence, event, stamp))
            batch.next_sequence += 1
    return rows


def _events(allocation: Allocation, fact: Fact, lists: EssayLists) -> Iterator[OutboundEvent]:
    match fact:
        case SlotWasAssigned(slot, content):
            yield builders.slot_assigned(
                _context(allocation, content.correlation_id, fact.origin),
                essay_id=slot.essay_id,
                file_upload_id=content.event.file_upload_id,
                text_storage_id=content.event.text_storage_id,
                original_file_name=content.event.original_file_name,
            )
        case ContentWasExcess(content):
            yield builders.excess_content(
                _context(allocation, content.correlation_id, fact.origin),
                text_storage_id=content.event.text_storage_id,
                original_file_name=content.event.original_file_name,
            )
        case ContentBecameComplete():
            yield from _completion(allocation, fact.origin, lists)
        case BatchBecameReady():
            batch = allocation.batch
            yield builders.essays_ready(
                _batch_context(allocation, fact.origin),
                essays=lists.filled.get(batch.batch_id, ()),
                course_code=_required(batch.course_code),
                student_prompt_ref=_prompt(batch.student_prompt_ref),
            )
        case _:
            assert_never(fact)


def _completion(allocation: Allocation, origin: SourceRecord | None, lists: EssayLists) -> Iterator[OutboundEvent]:
    batch = allocation.batch
    essays = lists.filled.get(batch.batch_id, ())
    if failed := lists.failed.get(batch.batch_id):
        yield builders.validation_errors(
            _batch_context(allocation, origin), [_failed_slot(f) for f in failed], provisioned_count=len(essays)
        )
    yield builders.provisioning_completed(
        _batch_context(allocation, origin),
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
    """The database writes 1e300 with all its digits, and an integer of more than 64 bits is poison to others."""
    return json.dumps(json.loads(stored, parse_int=_number)) if _MANY_DIGITS.search(stored) else stored


def _number(digits: str) -> int | float:
    number = int(digits)
    return number if -LARGEST_INTEGER - 1 <= number <= LARGEST_INTEGER else float(digits)


def _prompt(stored: dict[str, object] | None) -> StorageReferenceMetadata | None:
    return None if stored is None else STORAGE_REFERENCES.validate_python(stored, strict=False)


def _batch_context(allocation: Allocation, origin: SourceRecord | None) -> EventContext:
    """Batch-level events carry the correlation id of the batch's registration, and the trace of what caused them."""
    return _context(allocation, _required(allocation.batch.correlation_id), origin)


def _context(allocation: Allocation, correlation_id: UUID, origin: SourceRecord | None) -> EventContext:
    return EventContext(
        batch_id=allocation.batch.batch_id,
        correlation_id=correlation_id,
        now=allocation.now,
        traceparent=None if origin is None else origin.traceparent,
    )


def _required(value: FieldT | None) -> FieldT:
    """What every registered batch has: a CHECK of the database says so."""
    if value is None:
        msg = "a registered batch lacks what its registration said"
        raise InventoryMismatch(msg)
    return value
