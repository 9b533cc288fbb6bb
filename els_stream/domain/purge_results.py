"""What a purge or an erasure removed, and how it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Rows by table; of `dead_letters` the payloads, since reason and hash stay, and `batches` became tombstones."""

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
    """The run ended; `finished` is false where it was told to stop before all was gone."""

    removed: Removed
    finished: bool = True


@dataclass(frozen=True, slots=True)
class AnotherPurgeRuns:
    """Another worker or command is at it; nothing was done."""


@dataclass(frozen=True, slots=True)
class NotDue:
    """A run to its end was begun not long ago; nothing was done."""


PurgeResult = Purged | AnotherPurgeRuns | NotDue


@dataclass(frozen=True, slots=True)
class Erased:
    """`class_type` is None where the batch was not registered, or only dead letters were left of it."""

    removed: Removed
    class_type: str | None


@dataclass(frozen=True, slots=True)
class StillPublishing:
    """The batch has events to send: erase it once they are gone."""


@dataclass(frozen=True, slots=True)
class NothingToErase:
    """Nothing of a person is here: the batch never was, or is a tombstone."""


ErasureResult = Erased | StillPublishing | NothingToErase
