"""The domain in plain Python, as an oracle: what each letter must become, and what the tables must then say.

It knows nothing of transactions or SQL. Letters are given to it in the order in which their transactions committed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

from els_stream.events.records import RawRecord

Kind = Literal["registration", "content", "failure", "associations", "poison"]
MAX_PENDING = 6


@dataclass(frozen=True)
class ModelRecord:
    """A record with what the model needs to know of it."""

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
        """What makes a second parked letter a repeat of the first."""
        by_upload = self.kind in {"content", "failure"}
        subject = self.upload if by_upload else f"{self.essays}/{self.class_id}"
        return self.kind, subject


@dataclass
class ModelBatch:
    """A batch as its teacher would draw it on the blackboard."""

    essays: int = 0
    class_id: str | None = None
    registered: bool = False
    parked: dict[tuple[str, str], ModelRecord] = field(default_factory=dict)
    slots: dict[str, str | None] = field(default_factory=dict)  # by upload; no text where a failure holds it
    excess: dict[str, str] = field(default_factory=dict)  # upload by text
    failures: set[str] = field(default_factory=set)
    confirmed: bool = False
    conflicts: int = 0
    told: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0  # so many of the told have left the outbox
    letters_waiting: int = 0  # dead letters of it that have not
    purged: bool = False

    @property
    def free(self) -> int:
        return self.essays - len(self.slots)

    @property
    def texts(self) -> dict[str, str]:
        return {text: upload for upload, text in self.slots.items() if text is not None}

    @property
    def may_be_purged(self) -> bool:
        all_told = self.sent == len(self.told) and not self.letters_waiting
        return self.state == "completed" and self.class_id is None and all_told

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

    def content(self, letter: ModelRecord) -> str:
        held = self.texts.get(letter.text)
        if held is not None:
            return "already_assigned" if held == letter.upload else "already_assigned_by_other_upload"
        if letter.text in self.excess:
            return "already_excess"
        if letter.upload in self.excess.values() or self.slots.get(letter.upload) is not None:
            return "upload_already_provisioned"
        if not self.free:
            self.excess[letter.text] = letter.upload
            self.told.append(("excess", letter.text))
            return "excess"
        label = "took_over_failed_slot" if letter.upload in self.slots else "assigned"
        self.slots[letter.upload] = letter.text
        self.told.append(("assigned", letter.text))
        self._tell_the_end()
        return label

    def failure(self, letter: ModelRecord) -> str:
        if letter.upload in self.failures:
            return "already_failed"
        self.failures.add(letter.upload)
        if letter.upload in self.slots or letter.upload in self.excess.values() or not self.free:
            return "failure_recorded"
        self.slots[letter.upload] = None
        self._tell_the_end()
        return "slot_failed"

    def associations(self, letter: ModelRecord) -> str:
        if self.class_id is None:
            return "guest_batch"
        if letter.class_id != self.class_id:
            return "class_mismatch"
        if letter.essays > self.essays:
            return "unknown_essay"
        if self.confirmed:
            return "associations_updated"
        self.confirmed = True
        if not self.free and self.texts:
            self.told.append(("ready", f"{len(self.texts)} essays"))
        return "associations_confirmed"

    def _tell_the_end(self) -> None:
        if self.free:
            return
        if len(self.texts) < len(self.slots):
            self.told.append(("errors", f"{len(self.slots) - len(self.texts)} essays"))
        self.told.append(("completed", f"{len(self.texts)} essays"))
        if self.class_id is not None and self.confirmed and self.texts:
            self.told.append(("ready", f"{len(self.texts)} essays"))


@dataclass
class Model:
    """Every batch, and the dead letters by their place in Kafka."""

    batches: dict[str, ModelBatch] = field(default_factory=dict)
    buried: dict[tuple[str, int], str] = field(default_factory=dict)

    def relay(self) -> None:
        """All that was told so far has left the outbox."""
        for batch in self.batches.values():
            batch.sent, batch.letters_waiting = len(batch.told), 0

    def purge(self, busy: Collection[str]) -> None:
        """All that is done and told of goes, but what another worker is at."""
        for batch_id, batch in self.batches.items():
            if batch.may_be_purged and batch_id not in busy:
                batch.purged = True

    def handle(self, letter: ModelRecord) -> str:
        """What becomes of it: the label of its outcome, `dead_letter` for whatever is refused."""
        if letter.kind == "poison":
            return self._bury(letter, "not_json")
        batch = self.batches.setdefault(letter.batch_id, ModelBatch())
        if batch.purged:
            return self._bury(letter, "batch_purged")
        if letter.kind == "registration":
            return self._register(batch, letter)
        return self._admit(batch, letter) if batch.registered else self._park(batch, letter)

    def _register(self, batch: ModelBatch, letter: ModelRecord) -> str:
        if batch.registered:
            if (batch.essays, batch.class_id) == (letter.essays, letter.class_id):
                return "already_registered"
            batch.conflicts += 1
            return self._bury(letter, "conflicting_registration")
        batch.essays, batch.class_id, batch.registered = letter.essays, letter.class_id, True
        parked, batch.parked = batch.parked, {}
        for early in parked.values():
            self._admit(batch, early)
        return "registered"

    def _park(self, batch: ModelBatch, letter: ModelRecord) -> str:
        if (before := batch.parked.get(letter.identity)) is not None:
            return "already_pending" if before.text == letter.text else self._bury(letter, "upload_already_provisioned")
        if len(batch.parked) >= MAX_PENDING:
            return self._bury(letter, "too_many_parked")
        batch.parked[letter.identity] = letter
        return "pending"

    def _admit(self, batch: ModelBatch, letter: ModelRecord) -> str:
        admissions: dict[str, Callable[[ModelRecord], str]] = {
            "content": batch.content,
            "failure": batch.failure,
            "associations": batch.associations,
        }
        fate = admissions[letter.kind](letter)
        refused = {"upload_already_provisioned", "guest_batch", "class_mismatch", "unknown_essay"}
        return self._bury(letter, fate) if fate in refused else fate

    def _bury(self, letter: ModelRecord, reason: str) -> str:
        if letter.source not in self.buried and letter.kind != "poison":
            self.batches[letter.batch_id].letters_waiting += 1
        self.buried.setdefault(letter.source, reason)
        return "dead_letter"
