"""Builds records as the other services' producers write them. All have one time: only the seed decides the bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from els_stream.events import topics

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from els_stream.demo.random_source import RandomSource

SCHOOL_DAY: Final = "2026-01-30T08:15:00Z"

Fields = dict[str, object]

_SENDERS: Final = {
    topics.BATCH_REGISTERED: "batch-orchestrator-service",
    topics.CONTENT_PROVISIONED: "file-service",
    topics.VALIDATION_FAILED: "file-service",
    topics.ASSOCIATIONS_CONFIRMED: "class-management-service",
}


@dataclass(frozen=True, slots=True)
class Message:
    """A record to send; without a key the producer chooses the partition."""

    topic: str
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class DemoUpload:
    """An uploaded file. Uploads of the same text share its text_id."""

    upload_id: str
    text_id: str
    file_name: str
    correlation_id: UUID


def envelope(rng: RandomSource, topic: str, correlation_id: UUID, data: object) -> bytes:
    whole: Fields = {
        "event_id": str(rng.uuid()),
        "event_type": topic,
        "event_timestamp": SCHOOL_DAY,
        "source_service": _SENDERS[topic],
        "schema_version": 1,
        "correlation_id": str(correlation_id),
        "data_schema_uri": None,
        "data": data,
        "metadata": None,
    }
    return json.dumps(whole, ensure_ascii=False).encode()


def registration(batch_id: str, essay_ids: list[str], *, course: str, user: str, class_id: str | None) -> Fields:
    return {
        "event": "batch.essays.registered",
        "entity_id": batch_id,
        "expected_essay_count": len(essay_ids),
        "essay_ids": essay_ids,
        "metadata": {"entity_id": batch_id, "entity_type": "batch", "processing_stage": "pending", "error_info": {}},
        "course_code": course,
        "student_prompt_ref": None,
        "user_id": user,
        "org_id": "grundskolan-villervalla",
        "class_id": class_id,
    }


def content(batch_id: str, upload: DemoUpload) -> Fields:
    return {
        "event": "essay.content.provisioned",
        **_file(batch_id, upload),
        "text_storage_id": upload.text_id,
        "file_size_bytes": 4096,
        "content_md5_hash": None,
    }


def failure(batch_id: str, upload: DemoUpload, code: str, message: str) -> Fields:
    detail: Fields = {
        "error_code": code,
        "message": message,
        "correlation_id": str(upload.correlation_id),
        "timestamp": SCHOOL_DAY,
        "service": "file-service",
        "operation": "extract_text",
        "details": {},
    }
    return {
        "event": "essay.validation.failed",
        **_file(batch_id, upload),
        "validation_error_code": code,
        "validation_error_detail": detail,
        "file_size_bytes": 0,
    }


def _file(batch_id: str, upload: DemoUpload) -> Fields:
    return {
        "entity_id": batch_id,
        "file_upload_id": upload.upload_id,
        "original_file_name": upload.file_name,
        "raw_file_storage_id": f"raw-{upload.upload_id}",
        "correlation_id": str(upload.correlation_id),
        "timestamp": SCHOOL_DAY,
    }


def associations(
    batch_id: str, students: Iterable[tuple[str, str | None]], *, course: str, class_id: str, method: str
) -> Fields:
    """Build the associations event; `students` are pairs of essay id and student, or None for no student."""
    entries = [
        {
            "essay_id": essay_id,
            "student_id": student,
            "confidence_score": 0.98 if method == "human" else 0.71,
            "validation_method": method,
            "validated_by": None,
            "validated_at": SCHOOL_DAY,
        }
        for essay_id, student in students
    ]
    return {
        "event_name": "student.associations.confirmed",
        "entity_id": batch_id,
        "entity_type": "batch",
        "batch_id": batch_id,
        "class_id": class_id,
        "course_code": course,
        "associations": entries,
        "timeout_triggered": False,
        "validation_summary": {method: len(entries)},
        "timestamp": SCHOOL_DAY,
    }
