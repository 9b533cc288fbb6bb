"""Facts to each of the six outgoing events. Lists are ordered by essay id here, so callers may give any order."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from els_stream.events import topics
from els_stream.events.event_ids import slot_subject
from els_stream.events.fields import CourseCode, ErrorDetail, StorageReferenceMetadata, format_time
from els_stream.events.outbound import (
    BatchContentProvisioningCompletedV1,
    BatchEssaysReady,
    BatchReadinessTimeout,
    BatchValidationErrorsV1,
    ErrorSummary,
    ExcessContentProvisionedV1,
    FailedEssay,
    OutboundMetadata,
    OutboundModel,
    OutboundStorageReference,
    OutboundStorageReferences,
)
from els_stream.events.outbound_event import MAX_RECORD_BYTES, EventContext, OutboundEvent, quoted, seal, written
from els_stream.events.truncation import DETAILS_BYTES, TEXT_BYTES, cut_error_detail, cut_text

EssayAndText = tuple[str, str]

# Bytes for details and stack trace, and for each other text: the first is the contract's. The next ones are for a batch
# of thousands of failures, which would not fit into a record: less of each is told rather than nothing of all.
_CUTS: Final = ((DETAILS_BYTES, TEXT_BYTES), (1024, 256), (256, 128), (2, 16))
_ROOM_FOR_FAILURES: Final = MAX_RECORD_BYTES - 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedSlot:
    """A slot that a validation failure holds; `error_code` is the failure's own, under which it is counted."""

    essay_id: str
    file_name: str
    error_code: str
    error_detail: ErrorDetail
    failed_at: datetime


def slot_assigned(
    occasion: EventContext, *, essay_id: str, file_upload_id: str, text_storage_id: str, original_file_name: str
) -> OutboundEvent:
    """Written by hand, since it is told once per essay: a test holds it equal to what the model writes."""
    data = (
        f'{{"event":"essay.slot.assigned","batch_id":{quoted(occasion.batch_id)},"essay_id":{quoted(essay_id)},'
        f'"file_upload_id":{quoted(file_upload_id)},"text_storage_id":{quoted(text_storage_id)},'
        f'"original_file_name":{quoted(original_file_name)},"correlation_id":"{written(occasion.correlation_id)}",'
        f'"timestamp":"{format_time(occasion.now)}"}}'
    )
    return seal(topics.SLOT_ASSIGNED, slot_subject(essay_id, text_storage_id), occasion, data)


def excess_content(occasion: EventContext, *, text_storage_id: str, original_file_name: str) -> OutboundEvent:
    data = ExcessContentProvisionedV1(
        batch_id=occasion.batch_id,
        original_file_name=original_file_name,
        text_storage_id=text_storage_id,
        correlation_id=occasion.correlation_id,
        timestamp=occasion.now,
    )
    return seal(topics.EXCESS_CONTENT, text_storage_id, occasion, data.model_dump_json())


def provisioning_completed(
    occasion: EventContext, *, essays: Iterable[EssayAndText], expected_count: int, course_code: str, user_id: str
) -> OutboundEvent:
    """`essays` are the slots that hold content, `expected_count` all that were registered."""
    listed = sorted(essays)
    data = BatchContentProvisioningCompletedV1(
        batch_id=occasion.batch_id,
        provisioned_count=len(listed),
        expected_count=expected_count,
        course_code=CourseCode(course_code),
        user_id=user_id,
        essays_for_processing=(),
        correlation_id=occasion.correlation_id,
        timestamp=occasion.now,
    )
    return seal(topics.PROVISIONING_COMPLETED, "", occasion, _listing(data, "essays_for_processing", listed))


def essays_ready(
    occasion: EventContext,
    *,
    essays: Iterable[EssayAndText],
    course_code: str,
    student_prompt_ref: StorageReferenceMetadata | None,
) -> OutboundEvent:
    course = CourseCode(course_code)
    data = BatchEssaysReady(
        batch_id=occasion.batch_id,
        ready_essays=(),
        metadata=_metadata(topics.ESSAYS_READY, occasion),
        course_code=course,
        course_language=course.language,
        student_prompt_ref=_told(student_prompt_ref),
    )
    return seal(topics.ESSAYS_READY, "", occasion, _listing(data, "ready_essays", sorted(essays)))


def validation_errors(
    occasion: EventContext, failures: Sequence[FailedSlot], *, provisioned_count: int
) -> OutboundEvent:
    """The failures that hold a slot at completion; critical where no slot holds content."""
    counts = Counter(failure.error_code for failure in failures)
    summary = ErrorSummary(
        total_errors=len(failures),
        error_categories={code: counts[code] for code in sorted(counts)},
        critical_failure=provisioned_count == 0,
    )
    data = BatchValidationErrorsV1(
        batch_id=occasion.batch_id,
        failed_essays=_failed_essays(sorted(failures, key=lambda failure: failure.essay_id)),
        error_summary=summary,
        correlation_id=occasion.correlation_id,
        metadata=_metadata(topics.VALIDATION_ERRORS, occasion),
    )
    return seal(topics.VALIDATION_ERRORS, "", occasion, data.model_dump_json())


def readiness_timeout(
    occasion: EventContext,
    *,
    essays: Iterable[EssayAndText],
    missing_essay_ids: Iterable[str],
    expected_count: int,
    timeout_duration_seconds: int,
) -> OutboundEvent:
    """`missing_essay_ids` are the slots still free at the deadline; failed slots are in neither list."""
    listed = sorted(essays)
    data = BatchReadinessTimeout(
        batch_id=occasion.batch_id,
        ready_essays=(),
        missing_essay_ids=tuple(sorted(missing_essay_ids)),
        expected_count=expected_count,
        actual_count=len(listed),
        timeout_duration_seconds=timeout_duration_seconds,
        metadata=_metadata(topics.READINESS_TIMEOUT, occasion),
    )
    return seal(topics.READINESS_TIMEOUT, "", occasion, _listing(data, "ready_essays", listed))


def _listing(data: OutboundModel, name: str, essays: Sequence[EssayAndText]) -> str:
    """The model's JSON with its empty list filled: by hand, since each essay stands in it once or twice.

    What is replaced holds bare quotes, so that no string of the model can look like it.
    """
    references = [
        f'{{"essay_id":{quoted(essay_id)},"text_storage_id":{quoted(text_id)},"spellcheck_metrics":null}}'
        for essay_id, text_id in essays
    ]
    return data.model_dump_json().replace(f'"{name}":[]', f'"{name}":[{",".join(references)}]', 1)


def _metadata(topic: str, occasion: EventContext) -> OutboundMetadata:
    return OutboundMetadata(
        entity_id=occasion.batch_id, entity_type="batch", timestamp=occasion.now, event=topic, error_info={}
    )


def _told(prompt: StorageReferenceMetadata | None) -> OutboundStorageReferences | None:
    if prompt is None:
        return None
    return OutboundStorageReferences(
        references={
            kind: OutboundStorageReference(storage_id=reference.storage_id, path=reference.path)
            for kind, reference in prompt.references.items()
        }
    )


def _failed_essays(failures: Sequence[FailedSlot]) -> tuple[FailedEssay, ...]:
    """Cut as the contract says, or tighter until they fit; each try ends once it is too large, so memory is bounded."""
    for details_bytes, text_bytes in _CUTS[:-1]:
        essays: list[FailedEssay] = []
        room = _ROOM_FOR_FAILURES
        for failure in failures:
            essay = _failed_essay(failure, details_bytes, text_bytes)
            room -= len(essay.model_dump_json().encode())
            if room < 0:
                break
            essays.append(essay)
        else:
            return tuple(essays)
    return tuple(_failed_essay(failure, *_CUTS[-1]) for failure in failures)


def _failed_essay(failure: FailedSlot, details_bytes: int, text_bytes: int) -> FailedEssay:
    detail = cut_error_detail(failure.error_detail, details_bytes, text_bytes)
    return FailedEssay(
        essay_id=failure.essay_id,
        file_name=cut_text(failure.file_name, text_bytes),
        error_detail=detail if detail.timestamp else replace(detail, timestamp=failure.failed_at),
        failed_at=failure.failed_at,
    )
