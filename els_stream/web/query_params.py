"""The query of a request, read strictly: what it misspells is told, and never taken for `all`."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from els_stream.web.problems import bad_request

DEFAULT_LIMIT: Final = 50
MOST: Final = 200
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LARGEST_ID: Final = 2**63 - 1


class QueryParams:
    """Raises Problem with 400 for a parameter that is not `known`, comes twice, or is not what it must be."""

    def __init__(self, query: Mapping[str, str], known: Collection[str]) -> None:
        unknown = sorted(query.keys() - set(known) - {"limit", "cursor"})
        if unknown:
            raise bad_request(f"there is no parameter {unknown[0]!r}; there are: {', '.join(sorted(known))}")
        if len(set(query)) != len(query):
            raise bad_request("each parameter once")
        self._query = query

    def one_of(self, name: str, allowed: Collection[str]) -> str | None:
        value = self._query.get(name)
        if value is not None and value not in allowed:
            raise bad_request(f"{name} must be one of: {', '.join(allowed)}")
        return value

    def text(self, name: str) -> str | None:
        return self._query.get(name)

    def age(self, name: str) -> timedelta | None:
        value = self._query.get(name)
        if value is None:
            return None
        match = re.fullmatch(r"([0-9]{1,6})([smhd])", value)
        if match is None:
            raise bad_request(f"{name} must be a number and s, m, h or d, such as 90m or 7d")
        return timedelta(**{_UNITS[match[2]]: int(match[1])})

    def limit(self) -> int:
        value = self._query.get("limit", str(DEFAULT_LIMIT))
        if re.fullmatch(r"[0-9]{1,3}", value) is None or not 1 <= int(value) <= MOST:
            raise bad_request(f"limit must be a number from 1 to {MOST}")
        return int(value)

    def batch_cursor(self) -> tuple[datetime, str] | None:
        match self._cursor():
            case None:
                return None
            case [str(created_at), str(batch_id)] if "\0" not in batch_id:
                try:
                    before = datetime.fromisoformat(created_at)
                except ValueError:
                    pass
                else:
                    if before.tzinfo is not None:
                        return before, batch_id
        raise bad_request("this cursor is not one that was given out here")

    def letter_cursor(self) -> int | None:
        match self._cursor():
            case None:
                return None
            case [int(letter_id)] if 0 < letter_id <= _LARGEST_ID:
                return letter_id
        raise bad_request("this cursor is not one that was given out here")

    def _cursor(self) -> object:
        value = self._query.get("cursor")
        if value is None:
            return None
        try:
            parts: object = json.loads(base64.urlsafe_b64decode(value.encode() + b"=="))
        except (binascii.Error, ValueError):
            return ()
        return parts if isinstance(parts, list) else ()


def cursor(*parts: object) -> str:
    """Opaque to whoever gets it: what it holds may change."""
    packed = json.dumps(parts, separators=(",", ":"), default=str).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")
