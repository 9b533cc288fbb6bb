"""The line about exit codes in the help of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMON: Final = {
    0: "done",
    2: "a setting, an option or the schema is wrong",
    3: "a server does not answer",
}


def exit_codes(own: Mapping[int, str] | None = None) -> str:
    """Return the line; `own` are the codes that only this command has, or that mean something else here."""
    meanings = {**COMMON, **(own or {})}
    return "Exit codes: " + "; ".join(f"{code} {meanings[code]}" for code in sorted(meanings)) + "."
