"""A batch under its lock and what arrives for it, made by hand: no database near."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from els_stream.domain.allocation import Allocation
from els_stream.domain.associations import CurrentAssociation
from els_stream.domain.batch import Batch, BatchState, ClassType, Confirmation, Content, FailedUpload, Payload
from els_stream.domain.outcomes import Outcome
from els_stream.events.decoder import decode_associations, decode_content, decode_failure
from tests.support import factories as make


def open_batch(essays: int = 3, *, class_id: str | None = None) -> Batch:
    """Registered a moment ago: every slot is free."""
    return Batch(
        batch_id=make.BATCH,
        state=BatchState.OPEN,
        class_type=ClassType.REGULAR if class_id else ClassType.GUEST,
        inventory=None,
        expected=essays,
        free=essays,
        filled=0,
        failed=0,
        parked=0,
        next_sequence=1,
        course_code="ENG6",
        user_id="ms-frizzle",
        class_id=class_id,
        correlation_id=UUID(make.told_id("correlation")),
        student_prompt_ref=None,
        registration_digest=b"digest",
        associations_confirmed_at=None,
        content_completed_at=None,
        completed_at=None,
    )


def fresh_inventory(essays: int = 3, *, class_id: str | None = None, now: datetime = make.NOON) -> Allocation:
    students = {essay_id: CurrentAssociation() for essay_id in make.essay_ids(essays)}
    return Allocation(open_batch(essays, class_id=class_id), now, students=students)


def content(number: int = 0, **fields: object) -> Content:
    read = decode_content(make.content(make.BATCH, number=number, **fields))
    return Content(read.data, read.correlation_id)


def failure(number: int = 0, **fields: object) -> FailedUpload:
    read = decode_failure(make.failure(make.BATCH, number=number, **fields))
    return FailedUpload(read.data, read.correlation_id)


def confirmation(essays: int | Sequence[str] = 3, **fields: object) -> Confirmation:
    return Confirmation(decode_associations(make.associations(make.BATCH, essays=essays, **fields)).data)


def admit(inventory: Allocation, *payloads: Payload) -> list[Outcome]:
    return [inventory.admit(payload) for payload in payloads]


def labels(inventory: Allocation, *payloads: Payload) -> list[str]:
    return [outcome.label for outcome in admit(inventory, *payloads)]


def told(inventory: Allocation) -> list[str]:
    """The facts by their names, in the order in which they became true."""
    return [type(fact).__name__ for fact in inventory.facts]


def counts(inventory: Allocation) -> tuple[int, int, int]:
    """Free, filled, failed."""
    batch = inventory.batch
    return batch.free, batch.filled, batch.failed
