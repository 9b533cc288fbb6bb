"""Models of the six output events and of their envelope; JSON has the fields in this order.

A field that the contract does not name is a bug of this service, so the models raise for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from els_stream.events import topics
from els_stream.events.fields import (
    STRICT,
    Count,
    CourseCode,
    ErrorDetail,
    Identifier,
    JsonObject,
    StorageReference,
    SystemProcessingMetadata,
    UtcTime,
)

SOURCE_SERVICE: Final = "essay-lifecycle-service"


# Every field is written, also one with a default.
_NO_EXTRA_FIELDS: Final = ConfigDict(
    **STRICT | {"extra": "forbid", "json_schema_serialization_defaults_required": True}
)


class OutboundModel(BaseModel):
    """Base of the output models."""

    model_config = _NO_EXTRA_FIELDS


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundErrorDetail(ErrorDetail):
    """An error detail with truncated texts."""

    __pydantic_config__: ClassVar = _NO_EXTRA_FIELDS


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundMetadata(SystemProcessingMetadata):
    __pydantic_config__: ClassVar = _NO_EXTRA_FIELDS

    error_info: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundStorageReference(StorageReference):
    __pydantic_config__: ClassVar = _NO_EXTRA_FIELDS


class OutboundStorageReferences(OutboundModel):
    references: dict[str, OutboundStorageReference]


class EssayProcessingInputRefV1(OutboundModel):
    essay_id: Identifier
    text_storage_id: Identifier
    spellcheck_metrics: None = None


class EssaySlotAssignedV1(OutboundModel):
    event: Literal["essay.slot.assigned"] = "essay.slot.assigned"
    batch_id: Identifier
    essay_id: Identifier
    file_upload_id: Identifier
    text_storage_id: Identifier
    original_file_name: Identifier
    correlation_id: UUID
    timestamp: UtcTime


class BatchContentProvisioningCompletedV1(OutboundModel):
    event: Literal["batch.content.provisioning.completed"] = "batch.content.provisioning.completed"
    batch_id: Identifier
    provisioned_count: Count
    expected_count: Count
    course_code: CourseCode
    user_id: Identifier
    essays_for_processing: tuple[EssayProcessingInputRefV1, ...]
    correlation_id: UUID
    timestamp: UtcTime


class BatchEssaysReady(OutboundModel):
    event: Literal["batch.essays.ready"] = "batch.essays.ready"
    batch_id: Identifier
    ready_essays: tuple[EssayProcessingInputRefV1, ...]
    metadata: OutboundMetadata
    course_code: CourseCode
    course_language: Literal["en", "sv"]
    student_prompt_ref: OutboundStorageReferences | None
    class_type: Literal["REGULAR"] = "REGULAR"


class ExcessContentProvisionedV1(OutboundModel):
    event: Literal["excess.content.provisioned"] = "excess.content.provisioned"
    batch_id: Identifier
    original_file_name: Identifier
    text_storage_id: Identifier
    reason: Literal["NO_AVAILABLE_SLOT"] = "NO_AVAILABLE_SLOT"
    correlation_id: UUID
    timestamp: UtcTime


class FailedEssay(OutboundModel):
    essay_id: Identifier
    file_name: Identifier
    error_detail: OutboundErrorDetail
    failed_at: UtcTime


class ErrorSummary(OutboundModel):
    total_errors: Count
    error_categories: dict[str, Count]
    critical_failure: bool


class BatchValidationErrorsV1(OutboundModel):
    event: Literal["batch.validation.errors.v1"] = "batch.validation.errors.v1"
    batch_id: Identifier
    failed_essays: tuple[FailedEssay, ...]
    error_summary: ErrorSummary
    correlation_id: UUID
    metadata: OutboundMetadata


class BatchReadinessTimeout(OutboundModel):
    event: Literal["batch.readiness.timeout"] = "batch.readiness.timeout"
    batch_id: Identifier
    ready_essays: tuple[EssayProcessingInputRefV1, ...]
    missing_essay_ids: tuple[Identifier, ...]
    expected_count: Count
    actual_count: Count
    timeout_duration_seconds: Count
    metadata: OutboundMetadata


DataT_co = TypeVar("DataT_co", bound=OutboundModel, covariant=True)


class OutboundEnvelope(OutboundModel, Generic[DataT_co]):
    """The envelope of every output event. `metadata` is the trace context, or null without one."""

    event_id: UUID
    event_type: str
    event_timestamp: UtcTime
    source_service: Literal["essay-lifecycle-service"] = "essay-lifecycle-service"
    schema_version: Literal[1] = 1
    correlation_id: UUID
    data_schema_uri: None = None
    data: DataT_co
    metadata: dict[str, str] | None


OutputEnvelopes = (
    OutboundEnvelope[EssaySlotAssignedV1]
    | OutboundEnvelope[ExcessContentProvisionedV1]
    | OutboundEnvelope[BatchContentProvisioningCompletedV1]
    | OutboundEnvelope[BatchEssaysReady]
    | OutboundEnvelope[BatchValidationErrorsV1]
    | OutboundEnvelope[BatchReadinessTimeout]
)

OUTPUT_ENVELOPES: Final[Mapping[str, type[OutputEnvelopes]]] = {
    topics.SLOT_ASSIGNED: OutboundEnvelope[EssaySlotAssignedV1],
    topics.PROVISIONING_COMPLETED: OutboundEnvelope[BatchContentProvisioningCompletedV1],
    topics.ESSAYS_READY: OutboundEnvelope[BatchEssaysReady],
    topics.EXCESS_CONTENT: OutboundEnvelope[ExcessContentProvisionedV1],
    topics.VALIDATION_ERRORS: OutboundEnvelope[BatchValidationErrorsV1],
    topics.READINESS_TIMEOUT: OutboundEnvelope[BatchReadinessTimeout],
}
