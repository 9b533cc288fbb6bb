"""Truncation of free text from other services, so that a stack trace never makes an event too large to send."""

from typing import Final

from pydantic import JsonValue
from pydantic_core import to_json

from els_stream.events.fields import ErrorDetail, JsonObject
from els_stream.events.outbound import OutboundErrorDetail

DETAILS_BYTES: Final = 4096
TEXT_BYTES: Final = 1024


def truncate_text(text: str, limit: int = TEXT_BYTES) -> str:
    """Return the longest start of the text that fits into `limit` bytes of UTF-8, in whole characters."""
    if len(text) * 4 <= limit:
        return text
    return text.encode()[:limit].decode(errors="ignore")


def truncate_object(given: JsonObject, limit: int) -> JsonObject:
    """Return the entries that fit into `limit` bytes of JSON, in order.

    A string that fits only in part is truncated; other entries that do not fit are left out.
    """
    if len(to_json(given)) <= limit:
        return given
    kept: JsonObject = {}
    left = limit - len("{}")
    for name, entry in given.items():
        room = left - len(to_json(name)) - len(":,")
        fitting = _truncate_entry(entry, room)
        if fitting is None and entry is not None:
            continue
        if (size := len(to_json(fitting))) <= room:
            kept[name] = fitting
            left = room - size
    return kept


def truncate_error_detail(
    detail: ErrorDetail, details_bytes: int = DETAILS_BYTES, text_bytes: int = TEXT_BYTES
) -> OutboundErrorDetail:
    """Truncate `details` to `details_bytes`, `stack_trace` to what they leave of it, other texts to `text_bytes`.

    Idempotent: a truncated detail is returned unchanged.
    """
    details = truncate_object(detail.details, details_bytes)
    left = max(0, details_bytes - len(to_json(details)))
    return OutboundErrorDetail(
        error_code=truncate_text(detail.error_code, text_bytes),
        message=truncate_text(detail.message, text_bytes),
        correlation_id=detail.correlation_id,
        timestamp=detail.timestamp,
        service=truncate_text(detail.service, text_bytes),
        operation=truncate_text(detail.operation, text_bytes),
        details=details,
        stack_trace=None if detail.stack_trace is None else truncate_text(detail.stack_trace, left),
        trace_id=None if detail.trace_id is None else truncate_text(detail.trace_id, text_bytes),
        span_id=None if detail.span_id is None else truncate_text(detail.span_id, text_bytes),
    )


def _truncate_entry(entry: JsonValue, room: int) -> JsonValue:
    """Return the entry, or a string truncated until its JSON fits into `room` bytes, or None if nothing fits."""
    if len(to_json(entry)) <= room:
        return entry
    if not isinstance(entry, str) or room <= len('""'):
        return None
    text = truncate_text(entry, room - len('""'))
    while len(to_json(text)) > room:
        text = text[: len(text) // 2]
    return text or None
