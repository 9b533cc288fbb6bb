"""What the exit codes of a command mean, for its help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

USUAL: Final = {
    0: "done",
    2: "a setting, an option or the schema is wrong",
    3: "a server does not answer",
}


def exit_codes(own: Mapping[int, str] | None = None) -> str:
    """One line; `own` are those that this command has besides, or means otherwise."""
    meanings = {**USUAL, **(own or {})}
    return "Exit codes: " + "; ".join(f"{code} {meanings[code]}" for code in sorted(meanings)) + "."
