"""The same contracts read by msgspec, several times as fast, where it is certain that the exact reader would agree."""

from typing import Generic, TypeVar

import msgspec

from els_stream.events.envelope import Envelope
from els_stream.events.fields import Contract
from els_stream.events.suspicion import looks_plain

DataT = TypeVar("DataT", bound=Contract)


class FastDecoder(Generic[DataT]):
    """Reads what is good and plain. What it refuses may still be good: it says nothing, least of all why."""

    def __init__(self, contract: type[Envelope[DataT]]) -> None:
        self._decode = msgspec.json.Decoder(contract).decode

    def read(self, value: bytes) -> Envelope[DataT] | None:
        """Equal to what the exact reader makes of it, or None."""
        if not looks_plain(value):
            return None
        try:
            value.decode()  # msgspec does not look into the strings that it skips
            return self._decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
