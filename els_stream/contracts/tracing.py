"""The trace context, which travels in headers and in the envelope's metadata."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import JsonValue

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(headers: Iterable[tuple[str, bytes]], metadata: Mapping[str, JsonValue] | None) -> str | None:
    """The trace that an incoming event belongs to: the header's, else the envelope's; what is malformed is no trace."""
    for name, content in headers:
        if name == "traceparent" and (found := _legal(content.decode(errors="replace"))):
            return found
    told = None if metadata is None else metadata.get("traceparent")
    return _legal(told) if isinstance(told, str) else None


def _legal(text: str) -> str | None:
    return text if _TRACEPARENT.fullmatch(text) else None
