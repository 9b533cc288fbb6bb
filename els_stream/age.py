"""Parse ages as people write them: `90m`, `7d`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGE: Final = re.compile(r"([0-9]{1,6})([smhd])")


def parse_age(text: str) -> timedelta:
    """Return the age that `text` names: a whole number of up to six digits, then s, m, h or d. Raises ValueError."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError("must be a number and s, m, h or d, such as 90m or 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
