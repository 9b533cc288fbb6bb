"""Field types that several events share: bounded strings and numbers, times, the platform's enums and small objects.

Numbers and booleans are strict, times are strings. A field that may be null may also be absent, and the reverse.
Both decoders (see `decoder`) use these definitions: `Field` is for pydantic, the `Meta` beside it for msgspec.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeAlias
from uuid import UUID

from msgspec import Meta
from pydantic import (
    ConfigDict,
    FailFast,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

MAX_ESSAYS: Final = 10_000
MAX_ENTRIES: Final = 100
LARGEST_INTEGER: Final = 2**63 - 1

# RFC 3339, and the same without a zone. `fromisoformat` alone also accepts week dates and more.
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)


def in_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC. A time without a zone counts as UTC, since some producers send such."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@lru_cache(maxsize=64)  # all events of a transaction have the same time
def format_time(moment: datetime) -> str:
    """Return the time in the form of all output events, such as `2026-01-31T12:00:00.000000Z`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(given: object) -> datetime:
    """Return a UTC time from an RFC 3339 string, or from a datetime if Python code builds the model."""
    try:
        if isinstance(given, str) and _TIME.fullmatch(given):
            return in_utc(datetime.fromisoformat(given.upper()))
        if isinstance(given, datetime):
            return in_utc(given)
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError("time", "Input should be a time in the format of RFC 3339")


UtcTime = Annotated[
    datetime,
    PlainValidator(parse_time),
    PlainSerializer(format_time, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
    Meta(tz=True),
]
Identifier = Annotated[str, Field(min_length=1, max_length=255), Meta(min_length=1, max_length=255)]
Count = Annotated[int, Field(ge=0, le=LARGEST_INTEGER), Meta(ge=0, le=LARGEST_INTEGER)]
# The codes that are known. Another one is accepted and kept as it is: a failed file must not wait for a new release.
VALIDATION_ERROR_CODES: Final = (
    "EMPTY_CONTENT",
    "CONTENT_TOO_SHORT",
    "CONTENT_TOO_LONG",
    "RAW_STORAGE_FAILED",
    "TEXT_EXTRACTION_FAILED",
    "ENCRYPTED_FILE_UNSUPPORTED",
    "UNKNOWN_VALIDATION_ERROR",
)
ValidationErrorCode = Annotated[
    str, Field(min_length=1, max_length=255, examples=list(VALIDATION_ERROR_CODES)), Meta(min_length=1, max_length=255)
]
Ratio = Annotated[float, Field(ge=0, le=1), Meta(ge=0, le=1)]
ContentType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,254}$"), Meta(pattern=r"\A[a-z][a-z0-9_.-]{0,254}\Z")]
StoragePath = Annotated[str, Field(max_length=1024), Meta(max_length=1024)]

if TYPE_CHECKING:
    JsonObject: TypeAlias = dict[str, JsonValue]
else:
    JsonObject = dict[str, Any]  # equal for JSON, and decoders take it without a check of each value


class CourseCode(StrEnum):
    ENG5 = "ENG5"
    ENG6 = "ENG6"
    ENG7 = "ENG7"
    SV1 = "SV1"
    SV2 = "SV2"
    SV3 = "SV3"

    @property
    def language(self) -> Literal["en", "sv"]:
        return "en" if self.startswith("ENG") else "sv"


class ValidationMethod(StrEnum):
    HUMAN = "human"
    TIMEOUT = "timeout"
    AUTO = "auto"


class ProcessingStage(StrEnum):
    PENDING = "pending"
    INITIALIZED = "initialized"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


STRICT: Final = ConfigDict(
    frozen=True,
    strict=True,
    extra="ignore",
    allow_inf_nan=False,
    hide_input_in_errors=True,
    ser_json_inf_nan="null",
)


class Contract:
    """Base of the input models. Unknown fields are ignored, since other teams add fields first."""

    __slots__ = ()
    __pydantic_config__: ClassVar = STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemProcessingMetadata(Contract):
    entity_id: Identifier
    entity_type: Identifier
    parent_id: Identifier | None = None
    timestamp: UtcTime | None = None
    processing_stage: ProcessingStage | None = None
    started_at: UtcTime | None = None
    completed_at: UtcTime | None = None
    event: str | None = None
    error_info: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageReference(Contract):
    storage_id: Identifier
    path: StoragePath


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageReferenceMetadata(Contract):
    references: Annotated[
        dict[ContentType, StorageReference], Field(max_length=MAX_ENTRIES), FailFast(), Meta(max_length=MAX_ENTRIES)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetail(Contract):
    error_code: Identifier
    message: str
    correlation_id: UUID
    timestamp: UtcTime | None = None
    service: Identifier
    operation: Identifier
    details: JsonObject
    stack_trace: str | None = None
    trace_id: str | None = None
    span_id: str | None = None


# For parts of an event that are read back from the database.
ERROR_DETAIL: Final = TypeAdapter(ErrorDetail)
STORAGE_REFERENCES: Final = TypeAdapter(StorageReferenceMetadata)
