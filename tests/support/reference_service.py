"""A small in-memory version of the service for the tests of the demo, without a database.

It is written independently of the real rules on purpose, so that the demo's expectations are checked twice.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from els_stream.demo.expectations import Traffic
from els_stream.demo.random_source import RandomSource
from els_stream.events import builders, topics
from els_stream.events.builders import FailedSlot
from els_stream.events.dead_letter import dead_letter
from els_stream.events.dead_letter_reasons import DeadLetterReason as R
from els_stream.events.fields import ERROR_DETAIL
from els_stream.events.outbound_event import EventContext, OutboundEvent
from els_stream.events.records import RawRecord
from els_stream.events.violation import ContractViolation
from tests.support.decoders import decode

NO_CORRELATION_ID = UUID(int=0)
PARTITIONS = 4
START = datetime(2026, 1, 30, 8, 15, tzinfo=UTC)


@dataclass(slots=True)
class ReferenceBatch:
    registered: dict[str, Any] | None = None
    correlation_id: UUID = NO_CORRELATION_ID
    pending: dict[tuple[str, str], RawRecord] = field(default_factory=dict)
    free: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)  # text to essay, excess to nothing
    uploads: dict[str, str] = field(default_factory=dict)  # upload to text
    failed: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)  # upload to essay and failure
    seen_failures: set[str] = field(default_factory=set)
    confirmed: bool = False
    done: set[str] = field(default_factory=set)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(essay, text) for text, essay in self.texts.items() if essay]


class Reference:
    """Takes records with `feed`; `published` are the events that the service would send, in order."""

    def __init__(self) -> None:
        self.batches: defaultdict[str, ReferenceBatch] = defaultdict(ReferenceBatch)
        self.published: list[OutboundEvent] = []
        self._ticks = count(1)

    def feed(self, record: RawRecord) -> None:
        try:
            envelope = decode(record.topic, record.value)
        except ContractViolation as violation:
            self._dead_letter(record, violation.reason)
            return
        whole = json.loads(record.value or b"")
        data = whole["data"]
        batch_id = data["batch_id"] if record.topic == topics.ASSOCIATIONS_CONFIRMED else data["entity_id"]
        batch = self.batches[batch_id]
        if record.topic == topics.BATCH_REGISTERED:
            self._register(batch, record, envelope.correlation_id, data)
        elif batch.registered is None:
            subject = data.get("text_storage_id") or data.get("file_upload_id") or whole["event_id"]
            batch.pending.setdefault((record.topic, subject), record)
        elif record.topic == topics.CONTENT_PROVISIONED:
            self._content(batch_id, batch, record, envelope.correlation_id, data)
        elif record.topic == topics.VALIDATION_FAILED:
            self._failure(batch_id, batch, data)
        else:
            self._associations(batch_id, batch, record, data)

    def _register(self, batch: ReferenceBatch, record: RawRecord, correlation_id: UUID, data: dict[str, Any]) -> None:
        if batch.registered is not None:
            if set(batch.registered["essay_ids"]) != set(data["essay_ids"]):
                self._dead_letter(record, R.CONFLICTING_REGISTRATION)
            return
        batch.registered, batch.correlation_id = data, correlation_id
        batch.free = list(data["essay_ids"])
        pending, batch.pending = list(batch.pending.values()), {}
        for earlier in pending:
            self.feed(earlier)

    def _content(
        self, batch_id: str, batch: ReferenceBatch, record: RawRecord, correlation_id: UUID, data: dict[str, Any]
    ) -> None:
        text, upload, name = data["text_storage_id"], data["file_upload_id"], data["original_file_name"]
        if text in batch.texts:
            return
        if upload in batch.uploads:
            self._dead_letter(record, R.UPLOAD_ALREADY_PROVISIONED)
            return
        batch.uploads[upload] = text
        context = self._context(batch_id, correlation_id)
        if not batch.free:
            batch.texts[text] = ""
            self.published.append(builders.excess_content(context, text_storage_id=text, original_file_name=name))
            return
        essay = batch.failed.pop(upload)[0] if upload in batch.failed else batch.free.pop()
        batch.texts[text] = essay
        self.published.append(
            builders.slot_assigned(
                context, essay_id=essay, file_upload_id=upload, text_storage_id=text, original_file_name=name
            )
        )
        self._publish_if_complete(batch_id, batch)

    def _failure(self, batch_id: str, batch: ReferenceBatch, data: dict[str, Any]) -> None:
        upload = data["file_upload_id"]
        if upload in batch.uploads or upload in batch.seen_failures or not batch.free:
            return
        batch.seen_failures.add(upload)
        batch.failed[upload] = (batch.free.pop(), data)
        self._publish_if_complete(batch_id, batch)

    def _associations(self, batch_id: str, batch: ReferenceBatch, record: RawRecord, data: dict[str, Any]) -> None:
        registered = batch.registered or {}
        if registered["class_id"] is None:
            self._dead_letter(record, R.GUEST_BATCH)
        elif registered["class_id"] != data["class_id"]:
            self._dead_letter(record, R.CLASS_MISMATCH)
        elif {one["essay_id"] for one in data["associations"]} - set(registered["essay_ids"]):
            self._dead_letter(record, R.UNKNOWN_ESSAY)
        else:
            batch.confirmed = True
            self._publish_if_complete(batch_id, batch)

    def _publish_if_complete(self, batch_id: str, batch: ReferenceBatch) -> None:
        if batch.free or batch.registered is None:
            return
        context = self._context(batch_id, batch.correlation_id)
        course = batch.registered["course_code"]
        if batch.failed and "completed" not in batch.done:
            failures = [self._failed(essay, data) for essay, data in batch.failed.values()]
            self.published.append(builders.validation_errors(context, failures, provisioned_count=len(batch.pairs)))
        if "completed" not in batch.done:
            batch.done.add("completed")
            self.published.append(
                builders.provisioning_completed(
                    context,
                    essays=batch.pairs,
                    expected_count=batch.registered["expected_essay_count"],
                    course_code=course,
                    user_id=batch.registered["user_id"],
                )
            )
        if batch.registered["class_id"] and batch.confirmed and batch.pairs and "ready" not in batch.done:
            batch.done.add("ready")
            self.published.append(
                builders.essays_ready(context, essays=batch.pairs, course_code=course, student_prompt_ref=None)
            )

    def _failed(self, essay: str, data: dict[str, Any]) -> FailedSlot:
        return FailedSlot(
            essay_id=essay,
            file_name=data["original_file_name"],
            error_code=data["validation_error_code"],
            error_detail=ERROR_DETAIL.validate_json(json.dumps(data["validation_error_detail"])),
            failed_at=START,
        )

    def _context(self, batch_id: str, correlation_id: UUID) -> EventContext:
        now = START + timedelta(milliseconds=next(self._ticks))
        return EventContext(batch_id=batch_id, correlation_id=correlation_id, now=now)

    def _dead_letter(self, record: RawRecord, reason: R) -> None:
        self.published.append(dead_letter(record, reason, "refused"))


def arrivals(traffic: Traffic, rng: RandomSource) -> Iterator[RawRecord]:
    """Yield the traffic in one order in which it may be read: each partition in order, the partitions at random."""
    partitions: defaultdict[tuple[str, int], list[RawRecord]] = defaultdict(list)
    for message in traffic.messages:
        number = rng.randrange(PARTITIONS) if message.key is None else sum(message.key) % PARTITIONS
        log = partitions[message.topic, number]
        log.append(RawRecord(message.topic, number, len(log), 0, message.key, message.value))
    queues = [records[::-1] for _, records in sorted(partitions.items())]
    while queues:
        queue = rng.choice(queues)
        for _ in range(min(len(queue), rng.randint(1, 5))):
            yield queue.pop()
        queues = [queue for queue in queues if queue]


def outputs(traffic: Traffic, rng: RandomSource) -> list[RawRecord]:
    """Return the records that the output topics may contain in the end, some of them twice."""
    reference = Reference()
    for record in arrivals(traffic, rng):
        reference.feed(record)
    sent = [
        RawRecord(event.topic, 0, number, number, event.key, event.value, event.headers)
        for number, event in enumerate(reference.published)
    ]
    return sent + [record for record in sent if rng.random() < 0.05]
