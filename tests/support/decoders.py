"""The decoder of each input topic, for tests that go through all topics."""

from collections.abc import Mapping
from typing import Any, Final

from els_stream.events.decoder import (
    Decoder,
    decode_associations,
    decode_content,
    decode_failure,
    decode_registration,
)
from els_stream.events.inbound import Envelope

DECODERS: Final[Mapping[str, Decoder[Any]]] = {
    decoder.topic: decoder for decoder in (decode_registration, decode_content, decode_failure, decode_associations)
}


def decode(topic: str, value: bytes | None) -> Envelope[Any]:
    return DECODERS[topic](value)
