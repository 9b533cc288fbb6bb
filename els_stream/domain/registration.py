"""The registration of a batch: the decision, and when two registrations are equal.

Equal ones have the same essays, course, people, class and prompt, in any order.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, assert_never

from els_stream.domain.batch import BatchState, ClassType
from els_stream.domain.outcomes import Outcome, PlainOutcome, Refused, Registered, batch_purged
from els_stream.events.dead_letter_reasons import DeadLetterReason

if TYPE_CHECKING:
    from uuid import UUID

    from els_stream.domain.batch import Batch
    from els_stream.domain.claim_strategy import SlotTable
    from els_stream.events.inbound import BatchEssaysRegistered


def register(batch: Batch, event: BatchEssaysRegistered, correlation_id: UUID, slot_table: SlotTable) -> Outcome:
    """Open the batch if it is not registered, so that a second registration in the same micro-batch finds it open.

    An equal registration is acknowledged, a different one refused.
    """
    digest = registration_digest(event)
    match batch.state:
        case BatchState.UNREGISTERED:
            outcome = Registered(applied_pending=batch.pending)
            _open(batch, event, correlation_id, slot_table, digest)
            return outcome
        case BatchState.PURGED:
            return batch_purged()
        case BatchState.OPEN | BatchState.CONTENT_COMPLETE | BatchState.COMPLETED:
            if batch.registration_digest == digest:
                return PlainOutcome.ALREADY_REGISTERED
            message = "the batch is registered with other essays or owners"
            return Refused(DeadLetterReason.CONFLICTING_REGISTRATION, message)
        case _:
            assert_never(batch.state)


def _open(
    batch: Batch, event: BatchEssaysRegistered, correlation_id: UUID, slot_table: SlotTable, digest: bytes
) -> None:
    batch.state = BatchState.OPEN
    batch.class_type = ClassType.GUEST if event.class_id is None else ClassType.REGULAR
    batch.slot_table = slot_table
    batch.expected = batch.free = event.expected_essay_count
    batch.pending = 0
    batch.course_code = event.course_code
    batch.user_id = event.user_id
    batch.class_id = event.class_id
    batch.correlation_id = correlation_id
    prompt = event.student_prompt_ref
    batch.student_prompt_ref = None if prompt is None else asdict(prompt)
    batch.registration_digest = digest


def registration_digest(event: BatchEssaysRegistered) -> bytes:
    """Return the SHA-256 of what equal registrations share: no envelope, correlation id, metadata or order of ids."""
    prompt = event.student_prompt_ref and asdict(event.student_prompt_ref)
    fields = [
        sorted(event.essay_ids),
        event.expected_essay_count,
        event.course_code,
        event.user_id,
        event.org_id,
        event.class_id,
        prompt,
    ]
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).digest()
