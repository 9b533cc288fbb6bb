"""Trace context and correlation id from record headers."""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from uuid import UUID

from pydantic import JsonValue

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(headers: Iterable[tuple[str, bytes]], metadata: Mapping[str, JsonValue] | None) -> str | None:
    """Return the W3C traceparent of the header, else of the envelope's metadata; None without a well-formed one."""
    for name, content in headers:
        if name == "traceparent" and (found := _valid_or_none(content.decode(errors="replace"))):
            return found
    stated = None if metadata is None else metadata.get("traceparent")
    return _valid_or_none(stated) if isinstance(stated, str) else None


def correlation_of(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """Return the correlation id of the header, for records whose value can't be decoded; None if it is not a UUID."""
    for name, content in headers:
        if name == "correlation_id":
            try:
                return str(UUID(content.decode()))
            except ValueError:
                return None
    return None


def _valid_or_none(text: str) -> str | None:
    return text if _TRACEPARENT.fullmatch(text) else None
