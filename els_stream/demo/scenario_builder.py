"""One class set: its story told as records with the moments at which they are sent, and as a promise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from els_stream.demo import messages, names
from els_stream.demo.expectations import Expectation, FailedFile
from els_stream.demo.messages import Message, Upload
from els_stream.demo.scenarios import Scenario, Students, When
from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from els_stream.demo.messages import Fields
    from els_stream.demo.random_source import RandomSource

# Uploads come between 0 and 1; before and after them there is time for what comes first or last.
_SPANS: Final = {When.BEFORE: (-0.2, -0.1), When.AMID: (0.2, 0.8), When.AFTER: (1.1, 1.2)}


@dataclass(frozen=True, slots=True)
class Sent:
    """`reason` where the record must end as a dead letter; `parkable` where it may wait with its copies before.

    What others of its story must not overtake is `in_turn`.
    """

    moment: float
    message: Message
    reason: DeadLetterReason | None = None
    parkable: bool = False
    in_turn: bool = False


@dataclass(slots=True)
class ClassSet:
    """A batch in the making."""

    dice: RandomSource
    story: Scenario
    batch_id: str
    slots: int
    overdue: bool = False
    sent: list[Sent] = field(default_factory=list)
    contents: dict[str, tuple[Upload, ...]] = field(default_factory=dict)
    failures: dict[str, FailedFile] = field(default_factory=dict)
    course: str = field(init=False)
    user: str = field(init=False)
    correlation_id: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.course = self.dice.choice(names.COURSES)
        self.user = self.dice.choice(names.TEACHERS)
        self.correlation_id = self.dice.uuid()

    @property
    def class_id(self) -> str | None:
        return f"class-of-{self.batch_id}" if self.story.regular else None

    @property
    def essay_ids(self) -> list[str]:
        return [f"{self.batch_id}-essay-{number:03}" for number in range(1, self.slots + 1)]

    def tell(self) -> Expectation:
        """All of it, into `sent`, and what must come of it."""
        self._register()
        self._hand_in()
        self._swap()
        self._confirm()
        self._confirm_oddly()
        return Expectation(
            batch_id=self.batch_id,
            story=self.story.line,
            essay_ids=frozenset(self.essay_ids),
            regular=self.story.regular,
            course=self.course,
            user=self.user,
            correlation_id=self.correlation_id,
            registered=self.story.registered is not When.NEVER,
            confirmed=self.story.confirmed is not When.NEVER,
            overdue=self.overdue,
            contents=self.contents,
            failures=self.failures,
        )

    def _register(self) -> None:
        if self.story.registered is When.NEVER:
            return
        moment = self.dice.uniform(*_SPANS[self.story.registered])
        self._send(moment, topics.BATCH_REGISTERED, self._registration(self.essay_ids))
        if self.story.repeated:  # the same in other words: whichever comes first, the other is a repeat
            self._send(moment + 0.3, topics.BATCH_REGISTERED, self._registration(self.essay_ids[::-1]))
        if self.story.conflict:
            other = [*self.essay_ids[:-1], f"{self.batch_id}-essay-of-the-dog"]
            reason = DeadLetterReason.CONFLICTING_REGISTRATION
            self._send(moment + 0.2, topics.BATCH_REGISTERED, self._registration(other), reason)

    def _registration(self, essay_ids: list[str]) -> Fields:
        return messages.registration(
            self.batch_id, essay_ids, course=self.course, user=self.user, class_id=self.class_id
        )

    def _hand_in(self) -> None:
        files = self.slots - self.story.missing + self.story.surplus
        failing = files if self.story.all_fail else self.story.failing
        uploads = [self._upload(number) for number in range(files)]
        self.dice.shuffle(uploads)
        for number, upload in enumerate(uploads):
            if number < failing:
                self._fail(upload)
            if number >= failing or number < self.story.mended:
                self._provide(upload)
        for first, *_ in list(self.contents.values())[: self.story.shared]:
            self._share(first)

    def _upload(self, number: int) -> Upload:
        name = f"{self.batch_id}-{number:03}"
        return Upload(f"upload-{name}", f"text-{name}", names.file_name(self.dice), self.dice.uuid())

    def _provide(self, upload: Upload) -> None:
        self.contents[upload.text_id] = (*self.contents.get(upload.text_id, ()), upload)
        self._content(self.dice.random(), upload)

    def _share(self, first: Upload) -> None:
        """Another student, the same text."""
        upload_id = f"{first.upload_id}-too"
        self._provide(Upload(upload_id, first.text_id, names.file_name(self.dice), self.dice.uuid()))

    def _fail(self, upload: Upload) -> None:
        code, what = self.dice.choice(names.MISHAPS)
        self.failures[upload.upload_id] = FailedFile(upload.file_name, code)
        told = messages.failure(self.batch_id, upload, code, what)
        self._send(self.dice.random(), topics.VALIDATION_FAILED, told, correlation_id=upload.correlation_id)

    def _swap(self) -> None:
        """The same upload with another text, after the first: a dead letter, wherever the first went."""
        lonely = [uploads[0] for uploads in self.contents.values() if len(uploads) == 1]
        for first in lonely[: self.story.swapped]:
            swapped = Upload(first.upload_id, f"{first.text_id}-rewritten", first.file_name, self.dice.uuid())
            self._content(1.05, swapped, DeadLetterReason.UPLOAD_ALREADY_PROVISIONED)

    def _content(self, moment: float, upload: Upload, reason: DeadLetterReason | None = None) -> None:
        data = messages.content(self.batch_id, upload)
        self._send(moment, topics.CONTENT_PROVISIONED, data, reason, upload.correlation_id)

    def _confirm(self) -> None:
        """In two parts, by machine; where repeated, then once more by a human."""
        if self.story.confirmed is When.NEVER:
            return
        moment = self.dice.uniform(*_SPANS[self.story.confirmed])
        half = (self.slots + 1) // 2
        for part in filter(None, (self.essay_ids[:half], self.essay_ids[half:])):
            self._associate(moment, part, "auto")
        if self.story.repeated:
            self._associate(moment + 0.5, self.essay_ids, "human")

    def _confirm_oddly(self) -> None:
        match self.story.students:
            case Students.NOTHING_ODD:
                pass
            case Students.UNKNOWN_ESSAY_FIRST:
                stranger = [*self.essay_ids, "essay-of-somebody-else"]
                self._associate(0.5, stranger, "auto", reason=DeadLetterReason.UNKNOWN_ESSAY)
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
        students = [(essay_id, self.dice.choice((*names.STUDENTS, None))) for essay_id in essay_ids]
        told_class = class_id or self.class_id or "a-class-of-guests"
        told = messages.associations(self.batch_id, students, course=self.course, class_id=told_class, method=method)
        self._send(moment, topics.ASSOCIATIONS_CONFIRMED, told, reason)

    def _send(
        self,
        moment: float,
        topic: str,
        data: Fields,
        reason: DeadLetterReason | None = None,
        correlation_id: UUID | None = None,
    ) -> None:
        key = self.batch_id.encode() if self.story.keyed else None
        value = messages.envelope(self.dice, topic, correlation_id or self.correlation_id, data)
        parkable = topic != topics.BATCH_REGISTERED
        in_turn = self.story.conflict or self.story.swapped > 0
        self.sent.append(Sent(moment, Message(topic, key, value), reason, parkable, in_turn))
