"""Record headers in one bytea column: UTF-8 JSON, `[[name, value as Latin-1], ...]`, in their order, repeats kept."""

import json
from collections.abc import Iterable

Headers = tuple[tuple[str, bytes], ...]

# Of every event that leaves: what `json.loads` does before it takes as long as the decoding.
_decode = json.JSONDecoder().raw_decode


def encode_headers(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """Latin-1 maps every byte to one character, so any header value survives, a NUL or broken UTF-8 too."""
    # A name may hold a lone surrogate: aiokafka never yields one, but JSON's escapes keep even that writable.
    return json.dumps([[name, value.decode("latin-1")] for name, value in headers], separators=(",", ":")).encode()


def decode_headers(stored: bytes) -> Headers:
    """The inverse of `encode_headers`, byte for byte."""
    headers, _ = _decode(stored.decode())
    return tuple([(name, value.encode("latin-1")) for name, value in headers])
