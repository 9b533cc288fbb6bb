"""Changes bytes in the log segments of a running broker, as a bad disk or a careless producer would."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aiokafka.record.util import calc_crc32c

# Positions in a record batch: the end of its offset and length, its checksum, and the first byte that it covers.
HEAD, CRC_AT, COVERED_FROM = 12, 17, 21


@dataclass(frozen=True)
class Batch:
    at: int
    first_offset: int
    last_offset: int


class LogSegment:
    """The first segment of a partition; `data` is the folder of the broker."""

    def __init__(self, data: Path, topic: str, partition: int) -> None:
        self._path = data / f"{topic}-{partition}" / f"{0:020}.log"

    def replace(self, old: bytes, new: bytes, *, mend_checksum: bool) -> Batch:
        """Replace the first occurrence by bytes of the same length; return the batch that holds it."""
        content = bytearray(self._path.read_bytes())
        at = content.index(old)
        content[at : at + len(old)] = new
        batch, end = _batch_around(content, at)
        if mend_checksum:
            crc = calc_crc32c(bytes(content[batch.at + COVERED_FROM : end]))
            content[batch.at + CRC_AT : batch.at + COVERED_FROM] = crc.to_bytes(4, "big")
        with self._path.open("r+b") as segment:
            segment.seek(batch.at)
            segment.write(content[batch.at : end])
        return batch


def _batch_around(content: bytes | bytearray, at: int) -> tuple[Batch, int]:
    start = 0
    while True:
        end = start + HEAD + int.from_bytes(content[start + 8 : start + HEAD], "big")
        if start <= at < end:
            first = int.from_bytes(content[start : start + 8], "big")
            last = first + int.from_bytes(content[start + 23 : start + 27], "big")
            return Batch(start, first, last), end
        start = end
