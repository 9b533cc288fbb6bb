"""Models of the four input events and of their envelope, as the platform's contract defines them."""

from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar
from uuid import UUID

from msgspec import Meta
from pydantic import FailFast, Field
from pydantic_core import PydanticCustomError

from els_stream.events.fields import (
    MAX_ENTRIES,
    MAX_ESSAYS,
    Contract,
    Count,
    CourseCode,
    ErrorDetail,
    Identifier,
    JsonObject,
    Ratio,
    StorageReferenceMetadata,
    SystemProcessingMetadata,
    UtcTime,
    ValidationErrorCode,
    ValidationMethod,
)

DataT_co = TypeVar("DataT_co", bound=Contract, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope(Contract, Generic[DataT_co]):
    """The envelope of every input event.

    The service uses this `correlation_id`; the one that some events repeat in `data` is only validated.
    """

    event_id: UUID
    event_type: str
    event_timestamp: UtcTime
    source_service: Identifier
    # Not a Literal: pydantic takes `true` and `1.0` for a literal 1.
    schema_version: Annotated[int, Field(ge=1, le=1), Meta(ge=1, le=1)]
    correlation_id: UUID
    data_schema_uri: str | None = None
    data: DataT_co
    metadata: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEssaysRegistered(Contract):
    """A batch is registered, with its slots. Counts and ids must agree."""

    event: Literal["batch.essays.registered"] | None = None
    entity_id: Identifier
    expected_essay_count: Annotated[int, Field(ge=1, le=MAX_ESSAYS), Meta(ge=1, le=MAX_ESSAYS)]
    essay_ids: Annotated[
        tuple[Identifier, ...],
        Field(min_length=1, max_length=MAX_ESSAYS, json_schema_extra={"uniqueItems": True}),
        FailFast(),
        Meta(min_length=1, max_length=MAX_ESSAYS),
    ]
    metadata: SystemProcessingMetadata
    course_code: CourseCode
    student_prompt_ref: StorageReferenceMetadata | None = None
    user_id: Identifier
    org_id: Identifier | None = None
    class_id: Identifier | None = None

    @property
    def batch_id(self) -> str:
        return self.entity_id

    def __post_init__(self) -> None:
        if len(self.essay_ids) != self.expected_essay_count:
            raise PydanticCustomError("count_mismatch", "expected_essay_count differs from the number of essay_ids")
        if len(set(self.essay_ids)) != len(self.essay_ids):
            raise PydanticCustomError("repeated_id", "essay_ids repeats an id")


@dataclass(frozen=True, slots=True, kw_only=True)
class EssayContentProvisionedV1(Contract):
    """The text of an uploaded file is stored."""

    event: Literal["essay.content.provisioned"] | None = None
    entity_id: Identifier
    file_upload_id: Identifier
    original_file_name: Identifier
    raw_file_storage_id: Identifier
    text_storage_id: Identifier
    file_size_bytes: Count
    content_md5_hash: Identifier | None = None
    correlation_id: UUID
    timestamp: UtcTime | None = None

    @property
    def batch_id(self) -> str:
        return self.entity_id


@dataclass(frozen=True, slots=True, kw_only=True)
class EssayValidationFailedV1(Contract):
    """An uploaded file could not be used."""

    event: Literal["essay.validation.failed"] | None = None
    entity_id: Identifier
    file_upload_id: Identifier
    original_file_name: Identifier
    raw_file_storage_id: Identifier
    validation_error_code: ValidationErrorCode
    validation_error_detail: ErrorDetail
    file_size_bytes: Count
    correlation_id: UUID
    timestamp: UtcTime | None = None

    @property
    def batch_id(self) -> str:
        return self.entity_id


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentAssociation(Contract):
    """The student who wrote an essay. `student_id` is null if no student matched it."""

    essay_id: Identifier
    student_id: Identifier | None = None
    confidence_score: Ratio
    validation_method: ValidationMethod
    validated_by: Identifier | None = None
    validated_at: UtcTime


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentAssociationsConfirmedV1(Contract):
    """The students of the essays of a REGULAR batch are confirmed."""

    event_name: Literal["student.associations.confirmed"]
    entity_id: Identifier | None = None
    entity_type: Identifier | None = None
    parent_id: Identifier | None = None
    batch_id: Identifier
    class_id: Identifier
    course_code: CourseCode
    associations: Annotated[
        tuple[StudentAssociation, ...], Field(max_length=MAX_ESSAYS), FailFast(), Meta(max_length=MAX_ESSAYS)
    ]
    timeout_triggered: bool | None = None
    validation_summary: Annotated[
        dict[Identifier, Count], Field(max_length=MAX_ENTRIES), FailFast(), Meta(max_length=MAX_ENTRIES)
    ]
    timestamp: UtcTime | None = None
    system_metadata: SystemProcessingMetadata | None = None
