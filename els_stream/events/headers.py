"""Record headers in one bytea column: UTF-8 JSON, `[[name, value as Latin-1], ...]`, in their order, repeats kept.

The headers of our own events repeat each other and the contract. They are stored as what they are made of, `[event id,
topic, correlation id, batch id, time]` and a `traceparent` where there is one: 230 bytes less for each essay, in the
outbox and in its WAL.
"""

import json
from collections.abc import Iterable
from typing import Final

from els_stream.events.outbound import SOURCE_SERVICE

Headers = tuple[tuple[str, bytes], ...]

_SOURCE: Final = SOURCE_SERVICE.encode()
_VERSION: Final = b"1.0"

# Of every event that leaves: what `json.dumps`, `json.loads` and an encoder do before they begin takes the longest.
_quoted = json.encoder.encode_basestring_ascii
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode


def own_headers(
    event_id: bytes, topic: bytes, correlation_id: bytes, batch_id: bytes, time: bytes, traceparent: bytes | None = None
) -> Headers:
    """Those of the contract, for an event of ours."""
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
    )


def encode_headers(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """Latin-1 maps every byte to one character, so any header value survives, a NUL or broken UTF-8 too."""
    headers = tuple(headers)
    if parts := _parts_of_own(headers):
        return f"[{','.join([_quoted(part.decode('latin-1')) for part in parts])}]".encode()
    # A name may hold a lone surrogate: aiokafka never yields one, but JSON's escapes keep even that writable.
    return _encode([[name, value.decode("latin-1")] for name, value in headers]).encode()


def encode_own_headers(
    event_id: str, topic: str, correlation_id: str, batch_id: bytes, time: str, traceparent: str | None = None
) -> bytes:
    """What `encode_headers` makes of `own_headers`, without making them: every event of ours has them."""
    trace = "" if traceparent is None else f",{_quoted(traceparent)}"
    batch = _quoted(batch_id.decode("latin-1"))
    return f'["{event_id}","{topic}","{correlation_id}",{batch},"{time}"{trace}]'.encode()


def decode_headers(stored: bytes) -> Headers:
    """The inverse of `encode_headers`, byte for byte."""
    if stored[:2] == b'["' and b"\\" not in stored:
        return own_headers(*stored[2:-2].split(b'","'))  # nothing is escaped: what stands there are the parts
    whole, _ = _decode(stored.decode())
    if whole and isinstance(whole[0], str):
        return own_headers(*[part.encode("latin-1") for part in whole])
    return tuple([(name, value.encode("latin-1")) for name, value in whole])


_NAMES: Final = tuple(name for name, _ in own_headers(b"", b"", b"", b"", b""))
_NAMES_WITH_TRACE: Final = tuple(name for name, _ in own_headers(b"", b"", b"", b"", b"", b""))


def _parts_of_own(headers: Headers) -> tuple[bytes, ...] | None:
    """None unless `own_headers` makes exactly these of them; told without making them, since it is asked so often."""
    if len(headers) not in {len(_NAMES), len(_NAMES_WITH_TRACE)}:
        return None
    names, values = zip(*headers, strict=True)
    if names == _NAMES:
        trace = values[:0]
        event_id, topic, correlation_id, same_id, same_topic, source, batch_id, time, version = values
    elif names == _NAMES_WITH_TRACE:
        trace = values[3:4]
        event_id, topic, correlation_id, _, same_id, same_topic, source, batch_id, time, version = values
    else:
        return None
    if (same_id, same_topic, source, version) != (event_id, topic, _SOURCE, _VERSION):
        return None
    return event_id, topic, correlation_id, batch_id, time, *trace
