"""The domain in plain Python, as an oracle: the outcome of each event, and the contents of the tables after it.

It knows nothing of transactions or SQL. Events are given to it in the order in which their transactions committed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

from els_stream.events.records import RawRecord

Kind = Literal["registration", "content", "failure", "associations", "invalid"]
MAX_PENDING = 6


@dataclass(frozen=True)
class ModelRecord:
    """A record with the values that the model needs."""

    record: RawRecord
    kind: Kind
    batch_id: str = ""
    upload: str = ""
    text: str = ""
    essays: int = 0
    class_id: str | None = None

    @property
    def source(self) -> tuple[str, int]:
        return self.record.topic, self.record.offset

    @property
    def identity(self) -> tuple[str, str]:
        """A second pending event with the same identity is a repeat."""
        by_upload = self.kind in {"content", "failure"}
        subject = self.upload if by_upload else f"{self.essays}/{self.class_id}"
        return self.kind, subject


@dataclass
class ModelBatch:
    """The facts of one batch."""

    essays: int = 0
    class_id: str | None = None
    registered: bool = False
    pending: dict[tuple[str, str], ModelRecord] = field(default_factory=dict)
    slots: dict[str, str | None] = field(default_factory=dict)  # by upload; no text where a failure holds it
    excess: dict[str, str] = field(default_factory=dict)  # upload by text
    failures: set[str] = field(default_factory=set)
    confirmed: bool = False
    conflicts: int = 0
    published: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0  # how many of the published have left the outbox
    dead_letters_waiting: int = 0  # dead letters whose event is in the outbox
    purged: bool = False

    @property
    def free(self) -> int:
        return self.essays - len(self.slots)

    @property
    def texts(self) -> dict[str, str]:
        return {text: upload for upload, text in self.slots.items() if text is not None}

    @property
    def purgeable(self) -> bool:
        all_sent = self.sent == len(self.published) and not self.dead_letters_waiting
        return self.state == "completed" and self.class_id is None and all_sent

    @property
    def state(self) -> str:
        if self.purged:
            return "purged"
        if not self.registered:
            return "unregistered"
        if self.free:
            return "open"
        waits = self.class_id is not None and self.texts and not self.confirmed
        return "content_complete" if waits else "completed"

    def content(self, event: ModelRecord) -> str:
        holder = self.texts.get(event.text)
        if holder is not None:
            return "already_assigned" if holder == event.upload else "already_assigned_by_other_upload"
        if event.text in self.excess:
            return "already_excess"
        if event.upload in self.excess.values() or self.slots.get(event.upload) is not None:
            return "upload_already_provisioned"
        if not self.free:
            self.excess[event.text] = event.upload
            self.published.append(("excess", event.text))
            return "excess"
        label = "took_over_failed_slot" if event.upload in self.slots else "assigned"
        self.slots[event.upload] = event.text
        self.published.append(("assigned", event.text))
        self._publish_end()
        return label

    def failure(self, event: ModelRecord) -> str:
        if event.upload in self.failures:
            return "already_failed"
        self.failures.add(event.upload)
        if event.upload in self.slots or event.upload in self.excess.values() or not self.free:
            return "failure_recorded"
        self.slots[event.upload] = None
        self._publish_end()
        return "slot_failed"

    def associations(self, event: ModelRecord) -> str:
        if self.class_id is None:
            return "guest_batch"
        if event.class_id != self.class_id:
            return "class_mismatch"
        if event.essays > self.essays:
            return "unknown_essay"
        if self.confirmed:
            return "associations_updated"
        self.confirmed = True
        if not self.free and self.texts:
            self.published.append(("ready", f"{len(self.texts)} essays"))
        return "associations_confirmed"

    def _publish_end(self) -> None:
        if self.free:
            return
        if len(self.texts) < len(self.slots):
            self.published.append(("errors", f"{len(self.slots) - len(self.texts)} essays"))
        self.published.append(("completed", f"{len(self.texts)} essays"))
        if self.class_id is not None and self.confirmed and self.texts:
            self.published.append(("ready", f"{len(self.texts)} essays"))


@dataclass
class Model:
    """All batches, and the dead letters by their topic and offset."""

    batches: dict[str, ModelBatch] = field(default_factory=dict)
    dead_letters: dict[tuple[str, int], str] = field(default_factory=dict)

    def relay(self) -> None:
        """Empty the outbox."""
        for batch in self.batches.values():
            batch.sent, batch.dead_letters_waiting = len(batch.published), 0

    def purge(self, busy: Collection[str]) -> None:
        """Purge the completed GUEST batches whose events are sent, except those that another worker has locked."""
        for batch_id, batch in self.batches.items():
            if batch.purgeable and batch_id not in busy:
                batch.purged = True

    def handle(self, event: ModelRecord) -> str:
        """Apply the event; return the label of its outcome."""
        if event.kind == "invalid":
            return self._dead_letter(event, "not_json")
        batch = self.batches.setdefault(event.batch_id, ModelBatch())
        if batch.purged:
            return self._dead_letter(event, "batch_purged")
        if event.kind == "registration":
            return self._register(batch, event)
        return self._apply(batch, event) if batch.registered else self._store_as_pending(batch, event)

    def _register(self, batch: ModelBatch, event: ModelRecord) -> str:
        if batch.registered:
            if (batch.essays, batch.class_id) == (event.essays, event.class_id):
                return "already_registered"
            batch.conflicts += 1
            return self._dead_letter(event, "conflicting_registration")
        batch.essays, batch.class_id, batch.registered = event.essays, event.class_id, True
        pending, batch.pending = batch.pending, {}
        for earlier in pending.values():
            self._apply(batch, earlier)
        return "registered"

    def _store_as_pending(self, batch: ModelBatch, event: ModelRecord) -> str:
        if (before := batch.pending.get(event.identity)) is not None:
            return (
                "already_pending"
                if before.text == event.text
                else self._dead_letter(event, "upload_already_provisioned")
            )
        if len(batch.pending) >= MAX_PENDING:
            return self._dead_letter(event, "too_many_parked")
        batch.pending[event.identity] = event
        return "pending"

    def _apply(self, batch: ModelBatch, event: ModelRecord) -> str:
        rules: dict[str, Callable[[ModelRecord], str]] = {
            "content": batch.content,
            "failure": batch.failure,
            "associations": batch.associations,
        }
        label = rules[event.kind](event)
        refused = {"upload_already_provisioned", "guest_batch", "class_mismatch", "unknown_essay"}
        return self._dead_letter(event, label) if label in refused else label

    def _dead_letter(self, event: ModelRecord, reason: str) -> str:
        if event.source not in self.dead_letters and event.kind != "invalid":
            self.batches[event.batch_id].dead_letters_waiting += 1
        self.dead_letters.setdefault(event.source, reason)
        return "dead_letter"
