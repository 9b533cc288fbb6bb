"""Read one partition by a request of its own, with everything that can be read of it.

aiokafka's own fetch raises for a record that it can't decode, and names neither the offset nor the records before it.
This read returns the records before the bad one and the place of the bad one. A header name that is not UTF-8 does
not end it: such a name keeps its bytes as lone surrogates (`surrogateescape`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import LeaderNotAvailableError, NoError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.util import decode_varint

READ_TIMEOUT_SECONDS: Final = 2.0
MAX_WAIT_MS: Final = 50
MAX_BYTES: Final = 1_048_576
# Of a record batch of any version: the offset, the length of what follows the length, and later the version.
_LENGTH_AT, _HEAD, _MAGIC_AT, _FIRST_MAGIC_WITH_HEADERS = 8, 12, 16, 2


class FetchResponse(Protocol):
    API_VERSION: int
    topics: Any  # [(topic, [(partition, error code, high watermark, ..., records)])], by version


class KafkaClient(Protocol):
    """aiokafka's network client."""

    cluster: Any

    async def send(self, node_id: int, request: object) -> FetchResponse: ...


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """Why nothing more of a partition could be read.

    `out_of_range`: its log does not reach to that offset. `damaged`: what the broker returned can't be decoded.
    """

    cause: str
    out_of_range: bool = False
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class PartitionRead:
    """The records, in order, and the `position` after them, at which `failure` happened if there is one.

    `undecodable` are the offsets of records with a header name that is not UTF-8.
    """

    records: Sequence[ConsumerRecord]
    position: int
    failure: ReadFailure | None = None
    undecodable: frozenset[int] = frozenset()


async def read_partition(client: KafkaClient, partition: TopicPartition, offset: int) -> PartitionRead:
    """Read committed records from `offset` on, about a megabyte at most. Raises no error but cancellation."""
    try:
        async with asyncio.timeout(READ_TIMEOUT_SECONDS):
            return await _read(client, partition, offset)
    except Exception as error:  # noqa: BLE001 - whatever it is, this partition alone can't be read
        return PartitionRead((), offset, read_failure(error))


def read_failure(error: Exception) -> ReadFailure:
    return ReadFailure(type(error).__name__, isinstance(error, OffsetOutOfRangeError))


async def _read(client: KafkaClient, partition: TopicPartition, offset: int) -> PartitionRead:
    leader = client.cluster.leader_for_partition(partition)
    if leader is None or leader < 0:
        raise LeaderNotAvailableError
    wanted = [(partition.topic, [(partition.partition, offset, MAX_BYTES)])]
    response = await client.send(leader, FetchRequest(MAX_WAIT_MS, 1, MAX_BYTES, READ_COMMITTED, wanted))
    (_, ((_, error_code, _, *rest),)) = response.topics[0]
    error = for_code(error_code)
    if error is not NoError:
        raise error
    # The fields between were added at the end by each version, except that the records stay the last.
    aborted = rest[2] if response.API_VERSION >= 11 else rest[-2]  # noqa: PLR2004 - as aiokafka reads it
    return _decode(partition, rest[-1] or b"", aborted, offset)


def _decode(partition: TopicPartition, data: bytes, aborted: object, offset: int) -> PartitionRead:
    batches = _Batches(data)
    decoder = PartitionRecords(partition, batches, aborted, offset, None, None, True, READ_COMMITTED)  # noqa: FBT003
    records: list[ConsumerRecord] = []
    failure: ReadFailure | None = None
    try:
        records.extend(decoder)
    except Exception as error:  # noqa: BLE001 - the records before it are good
        failure = ReadFailure(f"{type(error).__name__} in the batch {batches.place}", damaged=True)
    undecodable = frozenset(batches.undecodable) & {record.offset for record in records}
    return PartitionRead(records, decoder.next_fetch_offset, failure, undecodable)


class _Batches:
    """The record batches in the bytes of a response, for aiokafka's PartitionRecords; the last may be cut off."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._batch: _TolerantBatch | LegacyRecordBatch | None = None
        self.undecodable: set[int] = set()

    @property
    def place(self) -> str:
        return "of unknown offsets" if self._batch is None else _place(self._batch)

    def has_next(self) -> bool:
        return self._at + _HEAD <= len(self._data) and self._end() <= len(self._data)

    def next_batch(self) -> _TolerantBatch | LegacyRecordBatch:
        data, self._at = self._data[self._at : self._end()], self._end()
        magic = data[_MAGIC_AT]
        new = magic >= _FIRST_MAGIC_WITH_HEADERS
        self._batch = _TolerantBatch(data, self.undecodable) if new else LegacyRecordBatch(data, magic)
        return self._batch

    def _end(self) -> int:
        length = int.from_bytes(self._data[self._at + _LENGTH_AT : self._at + _HEAD], "big", signed=True)
        return self._at + _HEAD + length


def _place(batch: _TolerantBatch | LegacyRecordBatch) -> str:
    return f"{batch.base_offset} to {batch.next_offset - 1}"


class _TolerantBatch(_DefaultRecordBatchPy):
    """aiokafka's record batch, which accepts header names that are not UTF-8 and notes their records."""

    def __init__(self, data: bytes, undecodable: set[int]) -> None:
        super().__init__(data)
        self._undecodable = undecodable

    def _read_msg(self) -> _DefaultRecordPy:
        """Read a record: https://kafka.apache.org/documentation/#record . Raises ValueError if it is cut off."""
        fields = _Fields(self._buffer, self._pos)
        length = fields.varint()
        end = fields.at + length
        fields.at += 1  # attributes, unused
        timestamp, offset = self.first_timestamp + fields.varint(), self.base_offset + fields.varint()
        key, value = fields.data(), fields.data()
        headers: list[tuple[str, bytes | None]] = []
        for _ in range(fields.varint()):
            name = fields.data() or b""
            headers.append((self._decode_name(name, offset), fields.data()))
        if fields.at != end:
            raise ValueError("a record of another length than it says")
        self._pos = end
        appended = self.timestamp_type == self.LOG_APPEND_TIME
        return _DefaultRecordPy(
            offset, self.max_timestamp if appended else timestamp, self.timestamp_type, key, value, headers
        )

    def _decode_name(self, name: bytes, offset: int) -> str:
        try:
            return name.decode()
        except UnicodeDecodeError:
            self._undecodable.add(offset)
            return name.decode(errors="surrogateescape")


class _Fields:
    """Reads the fields of a record one after the other."""

    def __init__(self, buffer: bytearray, at: int) -> None:
        self._buffer = buffer
        self.at = at

    def varint(self) -> int:
        number, self.at = decode_varint(self._buffer, self.at)
        return number

    def data(self) -> bytes | None:
        """Return bytes that follow their length, None for the length -1."""
        length = self.varint()
        if length < 0:
            return None
        start, self.at = self.at, self.at + length
        if self.at > len(self._buffer):
            raise ValueError("a record that is cut off")
        return bytes(self._buffer[start : self.at])
