"""Makes input: registrations, and contents of about 830 bytes with all fields that the file service fills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from els_stream.demo.random_source import RandomSource
from els_stream.events.records import RawRecord
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from tests.support import factories as make

Content: TypeAlias = tuple[bytes | None, bytes]

# Batches that are uploaded at the same time, so that their contents are interleaved.
AT_ONCE: Final = 40


def _template() -> bytes:
    """Return a content with placeholders: a JSON encoder would take longer than the measured work."""
    places = make.content_data(
        "%(batch)b",
        file_upload_id="%(upload)b",
        original_file_name="%(file)b",
        raw_file_storage_id="raw-%(upload)b",
        text_storage_id="text-%(text)b",
        correlation_id="%(correlation)b",
    )
    return make.envelope(CONTENT_PROVISIONED, places, event_id="%(event)b", correlation_id="%(correlation)b")


TEMPLATE: Final = _template()


@dataclass(frozen=True, slots=True)
class Load:
    """The size of a load. Every `repeat_every`-th content is sent twice; 0 means none."""

    batches: int
    essays_per_batch: int = 30
    keyed: bool = True
    repeat_every: int = 0

    @property
    def essays(self) -> int:
        return self.batches * self.essays_per_batch

    @property
    def contents(self) -> int:
        return self.essays + (self.essays // self.repeat_every if self.repeat_every else 0)

    def registrations(self) -> Iterator[RawRecord]:
        for number, batch_id in enumerate(map(_batch_id, range(self.batches))):
            value = make.registration(batch_id, essays=self.essays_per_batch)
            yield make.record(BATCH_REGISTERED, value, offset=number, key=batch_id.encode())

    def sent(self) -> Iterator[Content]:
        """Yield key and value of each content, in the order of sending."""
        rng = RandomSource(42)
        sent = 0
        for start in range(0, self.batches, AT_ONCE):
            env = [_batch_id(number).encode() for number in range(start, min(start + AT_ONCE, self.batches))]
            for number in range(self.essays_per_batch):
                for batch_id in env:
                    essay = _uuid(rng)
                    yield self._content(rng, batch_id, number, essay)
                    sent += 1
                    if self.repeat_every and sent % self.repeat_every == 0:
                        yield self._content(rng, batch_id, number, essay)

    def _content(self, rng: RandomSource, batch_id: bytes, number: int, essay: bytes) -> Content:
        value = TEMPLATE % {
            b"batch": batch_id,
            b"upload": essay,
            b"text": essay,
            b"file": _FILES[number % len(_FILES)],
            b"correlation": essay,
            b"event": _uuid(rng),
        }
        return batch_id if self.keyed else None, value


def _batch_id(number: int) -> str:
    return make.stable_id("bench", number)


def _uuid(rng: RandomSource) -> bytes:
    return str(rng.uuid()).encode()


_FILES: Final = [make.file_name(number).encode() for number in range(120)]
