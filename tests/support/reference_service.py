"""The service in a page of dictionaries, for the demo's own tests: it knows no database, no crash and no hurry.

Written apart from the real rules on purpose, so that the demo's promises are held against a second opinion.
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

NOBODY = UUID(int=0)
PARTITIONS = 4
START = datetime(2026, 1, 30, 8, 15, tzinfo=UTC)


@dataclass(slots=True)
class Batch:
    registered: dict[str, Any] | None = None
    correlation_id: UUID = NOBODY
    parked: dict[tuple[str, str], RawRecord] = field(default_factory=dict)
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
    """Feed it records; `told` grows by what the service would send, in order."""

    def __init__(self) -> None:
        self.batches: defaultdict[str, Batch] = defaultdict(Batch)
        self.told: list[OutboundEvent] = []
        self._ticks = count(1)

    def feed(self, record: RawRecord) -> None:
        try:
            envelope = decode(record.topic, record.value)
        except ContractViolation as violation:
            self._bury(record, violation.reason)
            return
        whole = json.loads(record.value or b"")
        data = whole["data"]
        batch_id = data["batch_id"] if record.topic == topics.ASSOCIATIONS_CONFIRMED else data["entity_id"]
        batch = self.batches[batch_id]
        if record.topic == topics.BATCH_REGISTERED:
            self._register(batch, record, envelope.correlation_id, data)
        elif batch.registered is None:
            subject = data.get("text_storage_id") or data.get("file_upload_id") or whole["event_id"]
            batch.parked.setdefault((record.topic, subject), record)
        elif record.topic == topics.CONTENT_PROVISIONED:
            self._content(batch_id, batch, record, envelope.correlation_id, data)
        elif record.topic == topics.VALIDATION_FAILED:
            self._failure(batch_id, batch, data)
        else:
            self._associations(batch_id, batch, record, data)

    def _register(self, batch: Batch, record: RawRecord, correlation_id: UUID, data: dict[str, Any]) -> None:
        if batch.registered is not None:
            if set(batch.registered["essay_ids"]) != set(data["essay_ids"]):
                self._bury(record, R.CONFLICTING_REGISTRATION)
            return
        batch.registered, batch.correlation_id = data, correlation_id
        batch.free = list(data["essay_ids"])
        parked, batch.parked = list(batch.parked.values()), {}
        for early in parked:
            self.feed(early)

    def _content(
        self, batch_id: str, batch: Batch, record: RawRecord, correlation_id: UUID, data: dict[str, Any]
    ) -> None:
        text, upload, name = data["text_storage_id"], data["file_upload_id"], data["original_file_name"]
        if text in batch.texts:
            return
        if upload in batch.uploads:
            self._bury(record, R.UPLOAD_ALREADY_PROVISIONED)
            return
        batch.uploads[upload] = text
        context = self._context(batch_id, correlation_id)
        if not batch.free:
            batch.texts[text] = ""
            self.told.append(builders.excess_content(context, text_storage_id=text, original_file_name=name))
            return
        essay = batch.failed.pop(upload)[0] if upload in batch.failed else batch.free.pop()
        batch.texts[text] = essay
        self.told.append(
            builders.slot_assigned(
                context, essay_id=essay, file_upload_id=upload, text_storage_id=text, original_file_name=name
            )
        )
        self._settle(batch_id, batch)

    def _failure(self, batch_id: str, batch: Batch, data: dict[str, Any]) -> None:
        upload = data["file_upload_id"]
        if upload in batch.uploads or upload in batch.seen_failures or not batch.free:
            return
        batch.seen_failures.add(upload)
        batch.failed[upload] = (batch.free.pop(), data)
        self._settle(batch_id, batch)

    def _associations(self, batch_id: str, batch: Batch, record: RawRecord, data: dict[str, Any]) -> None:
        registered = batch.registered or {}
        if registered["class_id"] is None:
            self._bury(record, R.GUEST_BATCH)
        elif registered["class_id"] != data["class_id"]:
            self._bury(record, R.CLASS_MISMATCH)
        elif {one["essay_id"] for one in data["associations"]} - set(registered["essay_ids"]):
            self._bury(record, R.UNKNOWN_ESSAY)
        else:
            batch.confirmed = True
            self._settle(batch_id, batch)

    def _settle(self, batch_id: str, batch: Batch) -> None:
        if batch.free or batch.registered is None:
            return
        context = self._context(batch_id, batch.correlation_id)
        course = batch.registered["course_code"]
        if batch.failed and "completed" not in batch.done:
            failures = [self._failed(essay, data) for essay, data in batch.failed.values()]
            self.told.append(builders.validation_errors(context, failures, provisioned_count=len(batch.pairs)))
        if "completed" not in batch.done:
            batch.done.add("completed")
            self.told.append(
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
            self.told.append(
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

    def _bury(self, record: RawRecord, reason: R) -> None:
        self.told.append(dead_letter(record, reason, "refused"))


def arrivals(traffic: Traffic, chance: RandomSource) -> Iterator[RawRecord]:
    """One way in which the traffic may be read: each partition in its order, the partitions in none."""
    partitions: defaultdict[tuple[str, int], list[RawRecord]] = defaultdict(list)
    for message in traffic.messages:
        number = chance.randrange(PARTITIONS) if message.key is None else sum(message.key) % PARTITIONS
        lying = partitions[message.topic, number]
        lying.append(RawRecord(message.topic, number, len(lying), 0, message.key, message.value))
    queues = [records[::-1] for _, records in sorted(partitions.items())]
    while queues:
        queue = chance.choice(queues)
        for _ in range(min(len(queue), chance.randint(1, 5))):
            yield queue.pop()
        queues = [queue for queue in queues if queue]


def outputs(traffic: Traffic, chance: RandomSource) -> list[RawRecord]:
    """What the output topics may hold in the end, some of it twice."""
    reference = Reference()
    for record in arrivals(traffic, chance):
        reference.feed(record)
    sent = [
        RawRecord(event.topic, 0, moment, moment, event.key, event.value, event.headers)
        for moment, event in enumerate(reference.told)
    ]
    return sent + [record for record in sent if chance.random() < 0.05]
