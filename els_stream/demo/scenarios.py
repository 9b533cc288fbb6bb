"""The scenarios of the demo: the cases that a batch can be in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class When(Enum):
    """The time of a registration or of associations, relative to the uploads."""

    BEFORE = auto()
    AMID = auto()
    AFTER = auto()
    NEVER = auto()


class Students(Enum):
    """The wrong associations that class management sends, if any."""

    NONE_WRONG = auto()
    UNKNOWN_ESSAY_FIRST = auto()
    OTHER_CLASS = auto()
    FOR_GUESTS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Counts of slots, files and uploads that differ from the simple case.

    `missing` slots stay empty, `surplus` files exceed the slots, `failing` files are unreadable, `repaired` of those
    are sent again and readable. `shared` texts have two uploads each. `swapped` uploads are sent again with another
    text, which is refused. `swapped` and `conflict` depend on the order of records, so they need keys.
    """

    title: str
    regular: bool = False
    registered: When = When.BEFORE
    confirmed: When = When.NEVER
    students: Students = Students.NONE_WRONG
    missing: int = 0
    surplus: int = 0
    failing: int = 0
    repaired: int = 0
    shared: int = 0
    swapped: int = 0
    all_fail: bool = False
    repeated: bool = False
    conflict: bool = False
    keyed: bool = True

    @property
    def min_slots(self) -> int:
        """The smallest number of slots with which the scenario is possible."""
        return max(1, self.missing + 1, self.failing + self.shared + self.swapped + 1)


SCENARIOS: Final = (
    Scenario(title="all essays in, none missing"),
    Scenario(title="confirmed after the last essay", regular=True, confirmed=When.AFTER),
    Scenario(title="all essays in before the batch", registered=When.AFTER),
    Scenario(
        title="students known before the essays",
        regular=True,
        registered=When.AMID,
        confirmed=When.BEFORE,
        repeated=True,
    ),
    Scenario(title="more essays than slots", surplus=4, registered=When.AMID),
    Scenario(title="three unreadable files", regular=True, confirmed=When.AMID, failing=3),
    Scenario(title="two essays missing at midnight", missing=2, registered=When.AMID),
    Scenario(
        title="too many, some broken, no keys",
        regular=True,
        confirmed=When.AFTER,
        surplus=3,
        failing=4,
        registered=When.AMID,
        keyed=False,
    ),
    Scenario(title="scanner off: every file failed", regular=True, confirmed=When.AFTER, all_fail=True),
    Scenario(title="unreadable at first, then fine", failing=3, repaired=2, registered=When.AMID),
    Scenario(title="registered twice, then otherwise", repeated=True, conflict=True, registered=When.AMID),
    Scenario(title="one essay by two, one swapped", shared=1, swapped=1, surplus=1),
    Scenario(
        title="confirmed for the parallel class",
        regular=True,
        confirmed=When.NEVER,
        students=Students.OTHER_CLASS,
    ),
    Scenario(title="guests, yet with students", students=Students.FOR_GUESTS, registered=When.AMID),
    Scenario(
        title="wrong essay first, then right",
        regular=True,
        confirmed=When.AFTER,
        students=Students.UNKNOWN_ESSAY_FIRST,
        failing=1,
    ),
    Scenario(title="uploaded, never registered", registered=When.NEVER, keyed=False),
)
