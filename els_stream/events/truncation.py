"""Free text of others is told only in part: a stack trace must not make an event too large to send."""

from typing import Final

from pydantic import JsonValue
from pydantic_core import to_json

from els_stream.events.fields import ErrorDetail, JsonObject
from els_stream.events.outbound import OutboundErrorDetail

DETAILS_BYTES: Final = 4096
TEXT_BYTES: Final = 1024


def cut_text(text: str, limit: int = TEXT_BYTES) -> str:
    """The start of the text that fits into `limit` bytes of UTF-8, no character halved."""
    if len(text) * 4 <= limit:
        return text
    return text.encode()[:limit].decode(errors="ignore")


def cut_object(given: JsonObject, limit: int) -> JsonObject:
    """The entries that fit into `limit` bytes of JSON, in order; a string at the border is cut, the rest left out."""
    if len(to_json(given)) <= limit:
        return given
    kept: JsonObject = {}
    left = limit - len("{}")
    for name, entry in given.items():
        room = left - len(to_json(name)) - len(":,")
        fitting = _cut_entry(entry, room)
        if fitting is None and entry is not None:
            continue
        if (size := len(to_json(fitting))) <= room:
            kept[name] = fitting
            left = room - size
    return kept


def cut_error_detail(
    detail: ErrorDetail, details_bytes: int = DETAILS_BYTES, text_bytes: int = TEXT_BYTES
) -> OutboundErrorDetail:
    """`details` first, `stack_trace` with what they leave; cutting what was cut changes nothing."""
    details = cut_object(detail.details, details_bytes)
    left = max(0, details_bytes - len(to_json(details)))
    return OutboundErrorDetail(
        error_code=cut_text(detail.error_code, text_bytes),
        message=cut_text(detail.message, text_bytes),
        correlation_id=detail.correlation_id,
        timestamp=detail.timestamp,
        service=cut_text(detail.service, text_bytes),
        operation=cut_text(detail.operation, text_bytes),
        details=details,
        stack_trace=None if detail.stack_trace is None else cut_text(detail.stack_trace, left),
        trace_id=None if detail.trace_id is None else cut_text(detail.trace_id, text_bytes),
        span_id=None if detail.span_id is None else cut_text(detail.span_id, text_bytes),
    )


def _cut_entry(entry: JsonValue, room: int) -> JsonValue:
    """A string shortened until its JSON fits, anything else as it is; None where nothing useful fits."""
    if len(to_json(entry)) <= room:
        return entry
    if not isinstance(entry, str) or room <= len('""'):
        return None
    text = cut_text(entry, room - len('""'))
    while len(to_json(text)) > room:
        text = text[: len(text) // 2]
    return text or None
