"""Read the batch id of a record that breaks its contract, so that its dead letter is found under its batch."""

from typing import Final

import msgspec

from els_stream.events import topics

_MAX_LENGTH: Final = 255


class _Data(msgspec.Struct):
    entity_id: object = None
    batch_id: object = None


class _Envelope(msgspec.Struct):
    data: _Data


_decode: Final = msgspec.json.Decoder(_Envelope).decode


def batch_id_of(topic: str, value: bytes | None) -> str | None:
    """Return the batch id that the record's value names, if the value is JSON and the id is one that a batch may have.

    Nothing else of the contract needs to hold. `topic` is the logical name.
    """
    try:
        data = _decode(value or b"").data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    found = data.batch_id if topic == topics.ASSOCIATIONS_CONFIRMED else data.entity_id
    if isinstance(found, str) and 1 <= len(found) <= _MAX_LENGTH and "\x00" not in found:
        return found
    return None
