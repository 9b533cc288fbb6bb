"""The results of a purge or an erasure: what it removed, or why it did nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Numbers of removed rows by table.

    Of `dead_letters` the payloads were removed, while reason and hash stay; `batches` became tombstones.
    """

    batches: int = 0
    essay_states: int = 0
    slot_assignments: int = 0
    validation_failures: int = 0
    excess_content: int = 0
    pending_events: int = 0
    dead_letters: int = 0

    def __add__(self, other: Removed) -> Removed:
        mine, theirs = asdict(self), asdict(other)
        return Removed(**{table: rows + theirs[table] for table, rows in mine.items()})

    @property
    def rows(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Purged:
    """The purge ended; `finished` is false where it was stopped before everything was removed."""

    removed: Removed
    finished: bool = True


@dataclass(frozen=True, slots=True)
class AnotherPurgeRuns:
    """Another worker or command is purging; nothing was done."""


@dataclass(frozen=True, slots=True)
class NotDue:
    """The last complete purge began too recently; nothing was done."""


PurgeResult = Purged | AnotherPurgeRuns | NotDue


@dataclass(frozen=True, slots=True)
class Erased:
    """The batch was erased; `class_type` is None where it was not registered or had only dead letters left."""

    removed: Removed
    class_type: str | None


@dataclass(frozen=True, slots=True)
class StillPublishing:
    """The batch has unsent events: erase it once they are sent."""


@dataclass(frozen=True, slots=True)
class NothingToErase:
    """There is no personal data: the batch is unknown, or is a tombstone."""


ErasureResult = Erased | StillPublishing | NothingToErase
