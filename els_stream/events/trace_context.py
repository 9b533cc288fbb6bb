"""What ties an event to others, where it travels outside of the event: trace context and correlation id."""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from uuid import UUID

from pydantic import JsonValue

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(headers: Iterable[tuple[str, bytes]], metadata: Mapping[str, JsonValue] | None) -> str | None:
    """The trace that an incoming event belongs to: the header's, else the envelope's; what is malformed is no trace."""
    for name, content in headers:
        if name == "traceparent" and (found := _legal(content.decode(errors="replace"))):
            return found
    told = None if metadata is None else metadata.get("traceparent")
    return _legal(told) if isinstance(told, str) else None


def correlation_of(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """By its header: for events that can't be read, and may say so much about themselves all the same."""
    for name, content in headers:
        if name == "correlation_id":
            try:
                return str(UUID(content.decode()))
            except ValueError:
                return None
    return None


def _legal(text: str) -> str | None:
    return text if _TRACEPARENT.fullmatch(text) else None
