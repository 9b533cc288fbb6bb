"""Builders of the six output events. They sort lists by essay id, so callers may pass them in any order."""

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
from els_stream.events.outbound_event import (
    MAX_RECORD_BYTES,
    EventContext,
    OutboundEvent,
    build_event,
    json_string,
    uuid_text,
)
from els_stream.events.truncation import DETAILS_BYTES, TEXT_BYTES, truncate_error_detail, truncate_text

EssayAndText = tuple[str, str]

# Bytes for details and stack trace, and for each other text. The first pair is the contract's. The next ones are for a
# batch of thousands of failures, which would not fit into a record: every failure stays, with less text.
_LIMITS: Final = ((DETAILS_BYTES, TEXT_BYTES), (1024, 256), (256, 128), (2, 16))
_MAX_FAILURES_BYTES: Final = MAX_RECORD_BYTES - 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedSlot:
    """A slot that a validation failure occupies. `error_code` is the failure's category in the summary."""

    essay_id: str
    file_name: str
    error_code: str
    error_detail: ErrorDetail
    failed_at: datetime


def slot_assigned(
    context: EventContext, *, essay_id: str, file_upload_id: str, text_storage_id: str, original_file_name: str
) -> OutboundEvent:
    """Build the event of a content that takes a slot.

    It writes the JSON without the model, since there is one such event per essay; a test compares both.
    """
    data = (
        f'{{"event":"essay.slot.assigned","batch_id":{json_string(context.batch_id)},"essay_id":{json_string(essay_id)},'
        f'"file_upload_id":{json_string(file_upload_id)},"text_storage_id":{json_string(text_storage_id)},'
        f'"original_file_name":{json_string(original_file_name)},"correlation_id":"{uuid_text(context.correlation_id)}",'
        f'"timestamp":"{format_time(context.now)}"}}'
    )
    return build_event(topics.SLOT_ASSIGNED, slot_subject(essay_id, text_storage_id), context, data)


def excess_content(context: EventContext, *, text_storage_id: str, original_file_name: str) -> OutboundEvent:
    """Build the event of a content for which its batch had no free slot."""
    data = ExcessContentProvisionedV1(
        batch_id=context.batch_id,
        original_file_name=original_file_name,
        text_storage_id=text_storage_id,
        correlation_id=context.correlation_id,
        timestamp=context.now,
    )
    return build_event(topics.EXCESS_CONTENT, text_storage_id, context, data.model_dump_json())


def provisioning_completed(
    context: EventContext, *, essays: Iterable[EssayAndText], expected_count: int, course_code: str, user_id: str
) -> OutboundEvent:
    """Build the event of a complete batch: `essays` are the slots with content, `expected_count` all its slots."""
    ordered = sorted(essays)
    data = BatchContentProvisioningCompletedV1(
        batch_id=context.batch_id,
        provisioned_count=len(ordered),
        expected_count=expected_count,
        course_code=CourseCode(course_code),
        user_id=user_id,
        essays_for_processing=(),
        correlation_id=context.correlation_id,
        timestamp=context.now,
    )
    return build_event(topics.PROVISIONING_COMPLETED, "", context, _with_essays(data, "essays_for_processing", ordered))


def essays_ready(
    context: EventContext,
    *,
    essays: Iterable[EssayAndText],
    course_code: str,
    student_prompt_ref: StorageReferenceMetadata | None,
) -> OutboundEvent:
    """Build the event of a REGULAR batch whose students are confirmed; `essays` are the slots with content."""
    course = CourseCode(course_code)
    data = BatchEssaysReady(
        batch_id=context.batch_id,
        ready_essays=(),
        metadata=_metadata(topics.ESSAYS_READY, context),
        course_code=course,
        course_language=course.language,
        student_prompt_ref=_outbound_references(student_prompt_ref),
    )
    return build_event(topics.ESSAYS_READY, "", context, _with_essays(data, "ready_essays", sorted(essays)))


def validation_errors(
    context: EventContext, failures: Sequence[FailedSlot], *, provisioned_count: int
) -> OutboundEvent:
    """Build the event of the failures that occupy slots at completion; critical if no slot has content."""
    counts = Counter(failure.error_code for failure in failures)
    summary = ErrorSummary(
        total_errors=len(failures),
        error_categories={code: counts[code] for code in sorted(counts)},
        critical_failure=provisioned_count == 0,
    )
    data = BatchValidationErrorsV1(
        batch_id=context.batch_id,
        failed_essays=_failed_essays(sorted(failures, key=lambda failure: failure.essay_id)),
        error_summary=summary,
        correlation_id=context.correlation_id,
        metadata=_metadata(topics.VALIDATION_ERRORS, context),
    )
    return build_event(topics.VALIDATION_ERRORS, "", context, data.model_dump_json())


def readiness_timeout(
    context: EventContext,
    *,
    essays: Iterable[EssayAndText],
    missing_essay_ids: Iterable[str],
    expected_count: int,
    timeout_duration_seconds: int,
) -> OutboundEvent:
    """Build the event of a missed deadline; `missing_essay_ids` are free slots, failed slots are in neither list."""
    ordered = sorted(essays)
    data = BatchReadinessTimeout(
        batch_id=context.batch_id,
        ready_essays=(),
        missing_essay_ids=tuple(sorted(missing_essay_ids)),
        expected_count=expected_count,
        actual_count=len(ordered),
        timeout_duration_seconds=timeout_duration_seconds,
        metadata=_metadata(topics.READINESS_TIMEOUT, context),
    )
    return build_event(topics.READINESS_TIMEOUT, "", context, _with_essays(data, "ready_essays", ordered))


def _with_essays(data: OutboundModel, name: str, essays: Sequence[EssayAndText]) -> str:
    """Return the model's JSON with the essays put into its empty list `name`; models of each essay would be slow.

    The replaced text has bare quotes, so it can't occur inside a JSON string.
    """
    references = [
        f'{{"essay_id":{json_string(essay_id)},"text_storage_id":{json_string(text_id)},"spellcheck_metrics":null}}'
        for essay_id, text_id in essays
    ]
    return data.model_dump_json().replace(f'"{name}":[]', f'"{name}":[{",".join(references)}]', 1)


def _metadata(topic: str, context: EventContext) -> OutboundMetadata:
    return OutboundMetadata(
        entity_id=context.batch_id, entity_type="batch", timestamp=context.now, event=topic, error_info={}
    )


def _outbound_references(prompt: StorageReferenceMetadata | None) -> OutboundStorageReferences | None:
    if prompt is None:
        return None
    return OutboundStorageReferences(
        references={
            kind: OutboundStorageReference(storage_id=reference.storage_id, path=reference.path)
            for kind, reference in prompt.references.items()
        }
    )


def _failed_essays(failures: Sequence[FailedSlot]) -> tuple[FailedEssay, ...]:
    """Truncate texts to the contract's limits, or to smaller ones until the event fits into a record.

    Each attempt stops as soon as it is too large, which bounds the memory.
    """
    for details_bytes, text_bytes in _LIMITS[:-1]:
        essays: list[FailedEssay] = []
        left = _MAX_FAILURES_BYTES
        for failure in failures:
            essay = _failed_essay(failure, details_bytes, text_bytes)
            left -= len(essay.model_dump_json().encode())
            if left < 0:
                break
            essays.append(essay)
        else:
            return tuple(essays)
    return tuple(_failed_essay(failure, *_LIMITS[-1]) for failure in failures)


def _failed_essay(failure: FailedSlot, details_bytes: int, text_bytes: int) -> FailedEssay:
    detail = truncate_error_detail(failure.error_detail, details_bytes, text_bytes)
    return FailedEssay(
        essay_id=failure.essay_id,
        file_name=truncate_text(failure.file_name, text_bytes),
        error_detail=detail if detail.timestamp else replace(detail, timestamp=failure.failed_at),
        failed_at=failure.failed_at,
    )
