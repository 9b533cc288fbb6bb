"""Read the query of a request strictly: a misspelt parameter is an error, and never means "all"."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from els_stream.age import parse_age
from els_stream.web.problems import bad_request

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
_LARGEST_ID: Final = 2**63 - 1
_INVALID_CURSOR: Final = "cursor must be the `next` of an earlier answer"


class QueryParams:
    """The parameters of one request. Its methods raise Problem with status 400 for a value that is not allowed."""

    def __init__(self, query: Mapping[str, str], known: Collection[str]) -> None:
        """Raises Problem with status 400 for a parameter that is not in `known`, or that comes twice."""
        allowed = sorted({*known, "limit", "cursor"})
        unknown = sorted(query.keys() - set(allowed))
        if unknown:
            raise bad_request(f"there is no parameter {unknown[0]!r}; there are: {', '.join(allowed)}")
        if len(set(query)) != len(query):
            raise bad_request("a parameter may come only once")
        self._query = query

    def one_of(self, name: str, allowed: Collection[str]) -> str | None:
        value = self._query.get(name)
        if value is not None and value not in allowed:
            raise bad_request(f"{name} must be one of: {', '.join(allowed)}")
        return value

    def text(self, name: str) -> str | None:
        return self._query.get(name)

    def number(self, name: str) -> int:
        """Return an id, or 0 for an absent parameter."""
        value = self._query.get(name, "0")
        if re.fullmatch(r"[0-9]{1,18}", value) is None:
            raise bad_request(f"{name} must be a number")
        return int(value)

    def age(self, name: str) -> timedelta | None:
        value = self._query.get(name)
        if value is None:
            return None
        try:
            return parse_age(value)
        except ValueError as error:
            raise bad_request(f"{name} {error}") from error

    def limit(self) -> int:
        value = self._query.get("limit", str(DEFAULT_LIMIT))
        if re.fullmatch(r"[0-9]{1,3}", value) is None or not 1 <= int(value) <= MAX_LIMIT:
            raise bad_request(f"limit must be a number from 1 to {MAX_LIMIT}")
        return int(value)

    def batch_cursor(self) -> tuple[datetime, str] | None:
        """Return creation time and id of the last batch of the page before."""
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
        raise bad_request(_INVALID_CURSOR)

    def dead_letter_cursor(self) -> int | None:
        """Return the id of the last dead letter of the page before."""
        match self._cursor():
            case None:
                return None
            case [int(dead_letter_id)] if 0 < dead_letter_id <= _LARGEST_ID:
                return dead_letter_id
        raise bad_request(_INVALID_CURSOR)

    def _cursor(self) -> object:
        value = self._query.get("cursor")
        if value is None:
            return None
        try:
            parts: object = json.loads(base64.urlsafe_b64decode(value.encode() + b"=="))
        except (binascii.Error, ValueError):
            return ()
        return parts if isinstance(parts, list) else ()


def encode_cursor(*parts: object) -> str:
    """Return `parts` as one opaque word for the client: its content may change."""
    packed = json.dumps(parts, separators=(",", ":"), default=str).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")
