"""Batches and their events for tests of the rules, made without a database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from els_stream.domain.allocation import Allocation
from els_stream.domain.associations import CurrentAssociation
from els_stream.domain.batch import Batch, BatchEvent, BatchState, ClassType, Confirmation, Content, FailedUpload
from els_stream.domain.outcomes import Outcome
from els_stream.events.decoder import decode_associations, decode_content, decode_failure
from els_stream.events.records import RawRecord
from tests.support import factories as make


@dataclass(frozen=True)
class Source:
    """The record of an event."""

    record: RawRecord
    timestamp: int = 0
    traceparent: str | None = None


SOURCE = Source(make.record("topic", b"{}"))


def open_batch(essays: int = 3, *, class_id: str | None = None) -> Batch:
    """Return a registered batch with all slots free."""
    return Batch(
        batch_id=make.BATCH,
        state=BatchState.OPEN,
        class_type=ClassType.REGULAR if class_id else ClassType.GUEST,
        slot_table=None,
        expected=essays,
        free=essays,
        filled=0,
        failed=0,
        pending=0,
        next_sequence=1,
        course_code="ENG6",
        user_id="ms-frizzle",
        class_id=class_id,
        correlation_id=UUID(make.stable_id("correlation")),
        student_prompt_ref=None,
        registration_digest=b"digest",
        associations_confirmed_at=None,
        content_completed_at=None,
        completed_at=None,
    )


def unregistered_batch() -> Batch:
    """Return a batch of which only pending events are known."""
    batch = open_batch(0)
    batch.state = BatchState.UNREGISTERED
    batch.class_type = batch.course_code = batch.user_id = batch.correlation_id = batch.registration_digest = None
    return batch


def new_allocation(essays: int = 3, *, class_id: str | None = None, now: datetime = make.NOON) -> Allocation:
    current_associations = {essay_id: CurrentAssociation() for essay_id in make.essay_ids(essays)}
    return Allocation(open_batch(essays, class_id=class_id), now, current_associations=current_associations)


def content(number: int = 0, **fields: object) -> Content:
    read = decode_content(make.content(make.BATCH, number=number, **fields))
    return Content(read.data, read.correlation_id, SOURCE)


def failure(number: int = 0, **fields: object) -> FailedUpload:
    read = decode_failure(make.failure(make.BATCH, number=number, **fields))
    return FailedUpload(read.data, read.correlation_id, SOURCE)


def confirmation(essays: int | Sequence[str] = 3, **fields: object) -> Confirmation:
    read = decode_associations(make.associations(make.BATCH, essays=essays, **fields))
    return Confirmation(read.data, read.event_id, SOURCE)


def apply(allocation: Allocation, *events: BatchEvent) -> list[Outcome]:
    return [allocation.apply(event) for event in events]


def labels(allocation: Allocation, *events: BatchEvent) -> list[str]:
    return [outcome.label for outcome in apply(allocation, *events)]


def facts(allocation: Allocation) -> list[str]:
    """Return the names of the new facts, in the order in which they became true."""
    return [type(fact).__name__ for fact in allocation.facts]


def counts(allocation: Allocation) -> tuple[int, int, int]:
    """Return the free, filled and failed slots."""
    batch = allocation.batch
    return batch.free, batch.filled, batch.failed
