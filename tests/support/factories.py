"""Valid input events as bytes; keyword arguments replace or add fields."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid5

from els_stream.demo.names import TITLES
from els_stream.events import topics
from els_stream.events.records import RawRecord

Fields = dict[str, object]

NAMESPACE: Final = UUID("0b7f2f3e-6f0e-4c1e-9c39-1a2b3c4d5e6f")
BATCH: Final = "batch-of-9b"
NOON: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
NOON_TEXT: Final = "2026-01-31T12:00:00.000000Z"


def stable_id(*parts: object) -> str:
    """Return a UUID that depends on the parts only."""
    return str(uuid5(NAMESPACE, "/".join(map(str, parts))))


def file_name(number: int) -> str:
    """Return a file name; titles repeat after the last one, numbers do not."""
    return f"{TITLES[number % len(TITLES)]} ({number}).docx"


def essay_ids(count: int, batch_id: str = BATCH) -> list[str]:
    return [f"{batch_id}-essay-{number:05}" for number in range(count)]


def envelope(topic: str, data: object, **fields: object) -> bytes:
    """Return an envelope around any data; keyword arguments replace or add fields of the envelope."""
    whole: Fields = {
        "event_id": stable_id(topic, json.dumps(data, default=str)),
        "event_type": topic,
        "event_timestamp": NOON_TEXT,
        "source_service": "a-friendly-service",
        "schema_version": 1,
        "correlation_id": stable_id("correlation"),
        "data_schema_uri": None,
        "data": data,
        "metadata": None,
    }
    return json.dumps(whole | fields, ensure_ascii=False, separators=(",", ":")).encode()


def metadata(batch_id: str = BATCH, **fields: object) -> Fields:
    whole: Fields = {
        "entity_id": batch_id,
        "entity_type": "batch",
        "parent_id": None,
        "timestamp": NOON_TEXT,
        "processing_stage": "pending",
        "started_at": None,
        "completed_at": None,
        "event": None,
        "error_info": {},
    }
    return whole | fields


def error_detail(**fields: object) -> Fields:
    whole: Fields = {
        "error_code": "EMPTY_CONTENT",
        "message": "Twelve pages, all of them blank",
        "correlation_id": stable_id("correlation"),
        "timestamp": NOON_TEXT,
        "service": "file-service",
        "operation": "extract_text",
        "details": {"pages": 12, "words": 0},
        "stack_trace": None,
        "trace_id": None,
        "span_id": None,
    }
    return whole | fields


def registration_data(batch_id: str = BATCH, *, essays: int | Sequence[str] = 3, **fields: object) -> Fields:
    """Return the data of a registration, GUEST unless `class_id` is given; `essays` is a number or the essay ids."""
    ids = essay_ids(essays, batch_id) if isinstance(essays, int) else list(essays)
    whole: Fields = {
        "event": "batch.essays.registered",
        "entity_id": batch_id,
        "expected_essay_count": len(ids),
        "essay_ids": ids,
        "metadata": metadata(batch_id),
        "course_code": "ENG6",
        "student_prompt_ref": None,
        "user_id": "ms-frizzle",
        "org_id": None,
        "class_id": None,
    }
    return whole | fields


def content_data(batch_id: str = BATCH, *, number: int = 0, **fields: object) -> Fields:
    """Return the data of a content event; `number` determines its upload and its text."""
    whole: Fields = {
        "event": "essay.content.provisioned",
        "entity_id": batch_id,
        "file_upload_id": f"upload-{batch_id}-{number:05}",
        "original_file_name": file_name(number),
        "raw_file_storage_id": f"raw-{batch_id}-{number:05}",
        "text_storage_id": f"text-{batch_id}-{number:05}",
        "file_size_bytes": 4096 + number,
        "content_md5_hash": "d41d8cd98f00b204e9800998ecf8427e",
        "correlation_id": stable_id("correlation"),
        "timestamp": NOON_TEXT,
    }
    return whole | fields


def failure_data(batch_id: str = BATCH, *, number: int = 0, **fields: object) -> Fields:
    """Return the data of a failed upload; `number` determines the upload, as for `content_data`."""
    whole: Fields = {
        "event": "essay.validation.failed",
        "entity_id": batch_id,
        "file_upload_id": f"upload-{batch_id}-{number:05}",
        "original_file_name": file_name(number),
        "raw_file_storage_id": f"raw-{batch_id}-{number:05}",
        "validation_error_code": "EMPTY_CONTENT",
        "validation_error_detail": error_detail(),
        "file_size_bytes": 0,
        "correlation_id": stable_id("correlation"),
        "timestamp": NOON_TEXT,
    }
    return whole | fields


def association(essay_id: str, student_id: str | None = "student-pippi", **fields: object) -> Fields:
    whole: Fields = {
        "essay_id": essay_id,
        "student_id": student_id,
        "confidence_score": 0.98,
        "validation_method": "human",
        "validated_by": "ms-frizzle",
        "validated_at": NOON_TEXT,
    }
    return whole | fields


def associations_data(batch_id: str = BATCH, *, essays: int | Sequence[str] = 3, **fields: object) -> Fields:
    ids = essay_ids(essays, batch_id) if isinstance(essays, int) else list(essays)
    whole: Fields = {
        "event_name": "student.associations.confirmed",
        "entity_id": batch_id,
        "entity_type": "batch",
        "parent_id": None,
        "batch_id": batch_id,
        "class_id": "class-9b",
        "course_code": "ENG6",
        "associations": [association(essay_id) for essay_id in ids],
        "timeout_triggered": False,
        "validation_summary": {"human": len(ids)},
        "timestamp": NOON_TEXT,
        "system_metadata": None,
    }
    return whole | fields


def registration(batch_id: str = BATCH, *, essays: int | Sequence[str] = 3, **fields: object) -> bytes:
    return envelope(topics.BATCH_REGISTERED, registration_data(batch_id, essays=essays, **fields))


def content(batch_id: str = BATCH, *, number: int = 0, **fields: object) -> bytes:
    return envelope(topics.CONTENT_PROVISIONED, content_data(batch_id, number=number, **fields))


def failure(batch_id: str = BATCH, *, number: int = 0, **fields: object) -> bytes:
    return envelope(topics.VALIDATION_FAILED, failure_data(batch_id, number=number, **fields))


def associations(batch_id: str = BATCH, *, essays: int | Sequence[str] = 3, **fields: object) -> bytes:
    return envelope(topics.ASSOCIATIONS_CONFIRMED, associations_data(batch_id, essays=essays, **fields))


def record(
    topic: str,
    value: bytes | None,
    *,
    partition: int = 0,
    offset: int = 0,
    key: bytes | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> RawRecord:
    """Return a record with the timestamp of NOON."""
    return RawRecord(topic, partition, offset, 1769860800000, key, value, headers)
