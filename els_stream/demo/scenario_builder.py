"""Builds one batch of a scenario: its records, the time of each, and the expected events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from els_stream.demo import messages, names
from els_stream.demo.expectations import Expectation, FailedFile
from els_stream.demo.messages import DemoUpload, Message
from els_stream.demo.scenarios import Scenario, Students, When
from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from els_stream.demo.messages import Fields
    from els_stream.demo.random_source import RandomSource

# Uploads are sent between 0 and 1. Records before or after the uploads have times outside.
_MOMENTS: Final = {When.BEFORE: (-0.2, -0.1), When.AMID: (0.2, 0.8), When.AFTER: (1.1, 1.2)}


@dataclass(frozen=True, slots=True)
class PlannedRecord:
    """A record and the time at which it is sent.

    `reason` is set if it must become a dead letter; with `may_wait` it may be a pending event before that. No other
    record of the scenario may overtake one with `keeps_order`.
    """

    moment: float
    message: Message
    reason: DeadLetterReason | None = None
    may_wait: bool = False
    keeps_order: bool = False


@dataclass(slots=True)
class ScenarioBuilder:
    """Collects the records and the expected events of one batch."""

    rng: RandomSource
    scenario: Scenario
    batch_id: str
    slots: int
    overdue: bool = False
    sent: list[PlannedRecord] = field(default_factory=list)
    contents: dict[str, tuple[DemoUpload, ...]] = field(default_factory=dict)
    failures: dict[str, FailedFile] = field(default_factory=dict)
    course: str = field(init=False)
    user: str = field(init=False)
    correlation_id: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.course = self.rng.choice(names.COURSES)
        self.user = self.rng.choice(names.TEACHERS)
        self.correlation_id = self.rng.uuid()

    @property
    def class_id(self) -> str | None:
        return f"class-of-{self.batch_id}" if self.scenario.regular else None

    @property
    def essay_ids(self) -> list[str]:
        return [f"{self.batch_id}-essay-{number:03}" for number in range(1, self.slots + 1)]

    def build(self) -> Expectation:
        """Append all records to `sent` and return the expected events."""
        self._register()
        self._hand_in()
        self._swap()
        self._confirm()
        self._confirm_wrongly()
        return Expectation(
            batch_id=self.batch_id,
            scenario=self.scenario.title,
            essay_ids=frozenset(self.essay_ids),
            regular=self.scenario.regular,
            course=self.course,
            user=self.user,
            correlation_id=self.correlation_id,
            registered=self.scenario.registered is not When.NEVER,
            confirmed=self.scenario.confirmed is not When.NEVER,
            overdue=self.overdue,
            contents=self.contents,
            failures=self.failures,
        )

    def _register(self) -> None:
        if self.scenario.registered is When.NEVER:
            return
        moment = self.rng.uniform(*_MOMENTS[self.scenario.registered])
        self._send(moment, topics.BATCH_REGISTERED, self._registration(self.essay_ids))
        if self.scenario.repeated:  # the same ids in another order: the second to arrive is a repeat
            self._send(moment + 0.3, topics.BATCH_REGISTERED, self._registration(self.essay_ids[::-1]))
        if self.scenario.conflict:
            other = [*self.essay_ids[:-1], f"{self.batch_id}-essay-of-the-dog"]
            reason = DeadLetterReason.CONFLICTING_REGISTRATION
            self._send(moment + 0.2, topics.BATCH_REGISTERED, self._registration(other), reason)

    def _registration(self, essay_ids: list[str]) -> Fields:
        return messages.registration(
            self.batch_id, essay_ids, course=self.course, user=self.user, class_id=self.class_id
        )

    def _hand_in(self) -> None:
        files = self.slots - self.scenario.missing + self.scenario.surplus
        failing = files if self.scenario.all_fail else self.scenario.failing
        uploads = [self._upload(number) for number in range(files)]
        self.rng.shuffle(uploads)
        for number, upload in enumerate(uploads):
            if number < failing:
                self._fail(upload)
            if number >= failing or number < self.scenario.repaired:
                self._provide(upload)
        for first, *_ in list(self.contents.values())[: self.scenario.shared]:
            self._share(first)

    def _upload(self, number: int) -> DemoUpload:
        name = f"{self.batch_id}-{number:03}"
        return DemoUpload(f"upload-{name}", f"text-{name}", names.file_name(self.rng), self.rng.uuid())

    def _provide(self, upload: DemoUpload) -> None:
        self.contents[upload.text_id] = (*self.contents.get(upload.text_id, ()), upload)
        self._content(self.rng.random(), upload)

    def _share(self, first: DemoUpload) -> None:
        """Upload the same text for another student."""
        upload_id = f"{first.upload_id}-too"
        self._provide(DemoUpload(upload_id, first.text_id, names.file_name(self.rng), self.rng.uuid()))

    def _fail(self, upload: DemoUpload) -> None:
        code, message = self.rng.choice(names.FILE_ERRORS)
        self.failures[upload.upload_id] = FailedFile(upload.file_name, code)
        data = messages.failure(self.batch_id, upload, code, message)
        self._send(self.rng.random(), topics.VALIDATION_FAILED, data, correlation_id=upload.correlation_id)

    def _swap(self) -> None:
        """Send an upload again, later, with another text: it becomes a dead letter, whatever the first one became."""
        unshared = [uploads[0] for uploads in self.contents.values() if len(uploads) == 1]
        for first in unshared[: self.scenario.swapped]:
            swapped = DemoUpload(first.upload_id, f"{first.text_id}-rewritten", first.file_name, self.rng.uuid())
            self._content(1.05, swapped, DeadLetterReason.UPLOAD_ALREADY_PROVISIONED)

    def _content(self, moment: float, upload: DemoUpload, reason: DeadLetterReason | None = None) -> None:
        data = messages.content(self.batch_id, upload)
        self._send(moment, topics.CONTENT_PROVISIONED, data, reason, upload.correlation_id)

    def _confirm(self) -> None:
        """Confirm in two events by machine; in a repeated scenario once more by a human."""
        if self.scenario.confirmed is When.NEVER:
            return
        moment = self.rng.uniform(*_MOMENTS[self.scenario.confirmed])
        half = (self.slots + 1) // 2
        for essay_ids in filter(None, (self.essay_ids[:half], self.essay_ids[half:])):
            self._associate(moment, essay_ids, "auto")
        if self.scenario.repeated:
            self._associate(moment + 0.5, self.essay_ids, "human")

    def _confirm_wrongly(self) -> None:
        """Send the wrong associations of the scenario, which become dead letters."""
        match self.scenario.students:
            case Students.NONE_WRONG:
                pass
            case Students.UNKNOWN_ESSAY_FIRST:
                with_unknown = [*self.essay_ids, "essay-of-another-batch"]
                self._associate(0.5, with_unknown, "auto", reason=DeadLetterReason.UNKNOWN_ESSAY)
            case Students.OTHER_CLASS:
                reason = DeadLetterReason.CLASS_MISMATCH
                self._associate(0.5, self.essay_ids, "human", class_id="the-parallel-class", reason=reason)
            case Students.FOR_GUESTS:
                self._associate(0.5, self.essay_ids, "human", reason=DeadLetterReason.GUEST_BATCH)

    def _associate(
        self,
        moment: float,
        essay_ids: Sequence[str],
        method: str,
        *,
        class_id: str | None = None,
        reason: DeadLetterReason | None = None,
    ) -> None:
        students = [(essay_id, self.rng.choice((*names.STUDENTS, None))) for essay_id in essay_ids]
        class_id = class_id or self.class_id or "a-class-of-guests"
        data = messages.associations(self.batch_id, students, course=self.course, class_id=class_id, method=method)
        self._send(moment, topics.ASSOCIATIONS_CONFIRMED, data, reason)

    def _send(
        self,
        moment: float,
        topic: str,
        data: Fields,
        reason: DeadLetterReason | None = None,
        correlation_id: UUID | None = None,
    ) -> None:
        key = self.batch_id.encode() if self.scenario.keyed else None
        value = messages.envelope(self.rng, topic, correlation_id or self.correlation_id, data)
        may_wait = topic != topics.BATCH_REGISTERED
        keeps_order = self.scenario.conflict or self.scenario.swapped > 0
        self.sent.append(PlannedRecord(moment, Message(topic, key, value), reason, may_wait, keeps_order))
