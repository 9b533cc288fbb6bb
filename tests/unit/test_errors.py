"""Codes and exit codes are stable, and the tree in the module's docstring is the tree of its classes."""

from __future__ import annotations

import re

import pytest

from els_stream import errors
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.violation import ContractViolation


def family(root: type[errors.ElsError]) -> list[type[errors.ElsError]]:
    return [root, *(member for child in root.__subclasses__() for member in family(child))]


TREE = [error for error in family(errors.ElsError) if error.__module__ == errors.__name__]


def test_the_docstring_shows_every_error_below_its_parent() -> None:
    drawn: list[tuple[int, str]] = [
        (len(match[1]), match[2]) for match in re.finditer(r"^    ([│├└─ ]*)(\w+)", errors.__doc__ or "", re.MULTILINE)
    ]

    assert [name for _, name in drawn] == [error.__name__ for error in TREE]
    assert [depth // 4 for depth, _ in drawn] == [len(error.__mro__) - len(errors.ElsError.__mro__) for error in TREE]


def test_every_error_has_its_own_code() -> None:
    assert len({error.code for error in TREE}) == len(TREE)


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_the_docstring_shows_the_exit_code(error: type[errors.ElsError]) -> None:
    shown = re.search(rf"{error.__name__} +exit (\d)", errors.__doc__ or "")

    assert error.exit_code == (int(shown[1]) if shown else 1)


def test_a_contract_violation_prints_its_message() -> None:
    violation = ContractViolation(DeadLetterReason.NOT_JSON, "line 1: not JSON")

    assert str(violation) == "line 1: not JSON"
    assert violation.reason is DeadLetterReason.NOT_JSON
