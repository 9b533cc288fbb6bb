"""When two registrations of a batch are equal: the same essays, course, people, class and prompt, in any order."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from els_stream.events.inbound import BatchEssaysRegistered


def registration_digest(event: BatchEssaysRegistered) -> bytes:
    """SHA-256 over what must be equal; envelope, correlation id, metadata and the order of ids are left out."""
    prompt = event.student_prompt_ref and asdict(event.student_prompt_ref)
    parts = [
        sorted(event.essay_ids),
        event.expected_essay_count,
        event.course_code,
        event.user_id,
        event.org_id,
        event.class_id,
        prompt,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).digest()
