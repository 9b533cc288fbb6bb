"""Encode record headers for one bytea column: UTF-8 JSON, `[[name, value as Latin-1], ...]`, in order, with repeats.

Headers of the service's own events follow from a few values, so only these are stored: `[event id, topic,
correlation id, batch id, time]` and the `traceparent` if there is one. This saves 230 bytes per essay in the outbox
and in its WAL.
"""

import json
from collections.abc import Iterable
from typing import Final

from els_stream.events.outbound import SOURCE_SERVICE

Headers = tuple[tuple[str, bytes], ...]

_SOURCE: Final = SOURCE_SERVICE.encode()
_VERSION: Final = b"1.0"
_CONTENT_TYPE: Final = b"application/json"  # readers of CloudEvents take the type of the value from it

# Used for every output event. The set-up inside `json.dumps` and `json.loads` takes longer than the work itself.
_json_string = json.encoder.encode_basestring_ascii
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode


def own_headers(
    event_id: bytes, topic: bytes, correlation_id: bytes, batch_id: bytes, time: bytes, traceparent: bytes | None = None
) -> Headers:
    """Return the headers that the contract demands of an output event."""
    return (
        ("event_id", event_id),
        ("event_type", topic),
        ("correlation_id", correlation_id),
        *(() if traceparent is None else (("traceparent", traceparent),)),
        ("ce_id", event_id),
        ("ce_type", topic),
        ("ce_source", _SOURCE),
        ("ce_subject", batch_id),
        ("ce_time", time),
        ("ce_specversion", _VERSION),
        ("content-type", _CONTENT_TYPE),
    )


def encode_headers(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """Encode any headers; Latin-1 maps every byte to one character, so a NUL or invalid UTF-8 in a value survives."""
    headers = tuple(headers)
    if values := _own_values(headers):
        return f"[{','.join([_json_string(value.decode('latin-1')) for value in values])}]".encode()
    # JSON's escapes keep a lone surrogate in a name too: so the bytes of a name that is not UTF-8 survive.
    return _encode([[name, value.decode("latin-1")] for name, value in headers]).encode()


def encode_own_headers(
    event_id: str, topic: str, correlation_id: str, batch_id: bytes, time: str, traceparent: str | None = None
) -> bytes:
    """Return `encode_headers(own_headers(...))` without building the headers; called for every output event."""
    trace = "" if traceparent is None else f",{_json_string(traceparent)}"
    batch = _json_string(batch_id.decode("latin-1"))
    return f'["{event_id}","{topic}","{correlation_id}",{batch},"{time}"{trace}]'.encode()


def decode_headers(stored: bytes) -> Headers:
    """Return the headers that `encode_headers` was given, byte for byte."""
    if stored[:2] == b'["' and b"\\" not in stored:
        return own_headers(*stored[2:-2].split(b'","'))  # without escapes the values stand there as they are
    whole, _ = _decode(stored.decode())
    if whole and isinstance(whole[0], str):
        return own_headers(*[value.encode("latin-1") for value in whole])
    return tuple([(name, value.encode("latin-1")) for name, value in whole])


_NAMES: Final = tuple(name for name, _ in own_headers(b"", b"", b"", b"", b""))
_NAMES_WITH_TRACE: Final = tuple(name for name, _ in own_headers(b"", b"", b"", b"", b"", b""))


def _own_values(headers: Headers) -> tuple[bytes, ...] | None:
    """Return the arguments for which `own_headers` returns exactly these headers, or None.

    Compares names and repeats instead of calling `own_headers`, since it runs for every output event.
    """
    if len(headers) not in {len(_NAMES), len(_NAMES_WITH_TRACE)}:
        return None
    names, values = zip(*headers, strict=True)
    if names == _NAMES:
        trace = values[:0]
        event_id, topic, correlation_id, same_id, same_topic, source, batch_id, time, version, content = values
    elif names == _NAMES_WITH_TRACE:
        trace = values[3:4]
        event_id, topic, correlation_id, _, same_id, same_topic, source, batch_id, time, version, content = values
    else:
        return None
    if (same_id, same_topic, source, version, content) != (event_id, topic, _SOURCE, _VERSION, _CONTENT_TYPE):
        return None
    return event_id, topic, correlation_id, batch_id, time, *trace
