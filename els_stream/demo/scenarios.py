"""What can happen to a class set: every kind of it that the demo knows, told in a line each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class When(Enum):
    """Of a registration or of associations, as seen from the uploads."""

    BEFORE = auto()
    AMID = auto()
    AFTER = auto()
    NEVER = auto()


class Students(Enum):
    """What class management sends beside, or instead of, good associations."""

    NOTHING_ODD = auto()
    UNKNOWN_ESSAY_FIRST = auto()
    OTHER_CLASS = auto()
    FOR_GUESTS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`missing` slots stay empty, `surplus` files come too many, `failing` of the slots get a file nobody can read.

    `mended` of the failing uploads get readable after all; `shared` texts come under two uploads; `swapped` uploads
    come again with another text, which is refused. Both of the latter, and `conflict`, need keyed records: which
    came first matters.
    """

    line: str
    regular: bool = False
    registered: When = When.BEFORE
    confirmed: When = When.NEVER
    students: Students = Students.NOTHING_ODD
    missing: int = 0
    surplus: int = 0
    failing: int = 0
    mended: int = 0
    shared: int = 0
    swapped: int = 0
    all_fail: bool = False
    repeated: bool = False
    conflict: bool = False
    keyed: bool = True

    @property
    def least(self) -> int:
        """Slots that the story needs."""
        return max(1, self.missing + 1, self.failing + self.shared + self.swapped + 1)


STORIES: Final = (
    Scenario(line="everybody hands in, nobody frets"),
    Scenario(line="confirmed after the last essay", regular=True, confirmed=When.AFTER),
    Scenario(line="all essays in before the batch", registered=When.AFTER),
    Scenario(
        line="students known before the essays",
        regular=True,
        registered=When.AMID,
        confirmed=When.BEFORE,
        repeated=True,
    ),
    Scenario(line="more essays than slots", surplus=4, registered=When.AMID),
    Scenario(line="three files nobody can open", regular=True, confirmed=When.AMID, failing=3),
    Scenario(line="two essays missing at midnight", missing=2, registered=When.AMID),
    Scenario(
        line="too many, some broken, no keys",
        regular=True,
        confirmed=When.AFTER,
        surplus=3,
        failing=4,
        registered=When.AMID,
        keyed=False,
    ),
    Scenario(line="scanner off: every file failed", regular=True, confirmed=When.AFTER, all_fail=True),
    Scenario(line="unreadable at first, then fine", failing=3, mended=2, registered=When.AMID),
    Scenario(line="registered twice, then otherwise", repeated=True, conflict=True, registered=When.AMID),
    Scenario(line="one essay by two, one swapped", shared=1, swapped=1, surplus=1),
    Scenario(
        line="confirmed for the parallel class",
        regular=True,
        confirmed=When.NEVER,
        students=Students.OTHER_CLASS,
    ),
    Scenario(line="guests, yet with students", students=Students.FOR_GUESTS, registered=When.AMID),
    Scenario(
        line="wrong essay first, then right",
        regular=True,
        confirmed=When.AFTER,
        students=Students.UNKNOWN_ESSAY_FIRST,
        failing=1,
    ),
    Scenario(line="uploaded, never registered", registered=When.NEVER, keyed=False),
)
