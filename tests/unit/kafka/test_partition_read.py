"""A header name that is not UTF-8: read with its bytes, kept in the row, escaped in the published event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.record.util import calc_crc32c

from els_stream.events.dead_letter import dead_letter
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.headers import decode_headers, encode_headers
from els_stream.events.records import RawRecord
from els_stream.kafka.partition_read import PartitionRead, read_partition

TP = TopicPartition("alpha", 0)
# A version 2 batch with one record: value `v`, header `l~n` with value `1`.
RECORD = bytes([0, 0, 0, 1, 2]) + b"v" + bytes([2, 6]) + b"l~n" + bytes([2]) + b"1"
AFTER_CRC = (
    bytes(2)
    + bytes(4)
    + (1_000).to_bytes(8, "big") * 2
    + b"\xff" * 8
    + b"\xff" * 2
    + b"\xff" * 4
    + (1).to_bytes(4, "big")
)


def batch(name: bytes, first: int = 7, *, crc_error: int = 0) -> bytes:
    covered = AFTER_CRC + bytes([len(RECORD) * 2]) + RECORD.replace(b"l~n", name)
    checked = bytes(4) + b"\x02" + ((calc_crc32c(covered) + crc_error) % 2**32).to_bytes(4, "big") + covered
    return first.to_bytes(8, "big") + len(checked).to_bytes(4, "big") + checked


@dataclass
class FakeResponse:
    topics: list[tuple[str, list[object]]]
    API_VERSION: int = 11


@dataclass
class FakeNetwork:
    """Answers each fetch with these bytes."""

    data: bytes
    error_code: int = 0
    leader: int = 1

    def __post_init__(self) -> None:
        self.cluster: Any = SimpleNamespace(leader_for_partition=lambda _: self.leader)

    async def send(self, node_id: int, request: object) -> FakeResponse:
        del node_id, request
        partition: object = (0, self.error_code, 9, 9, 0, [], -1, self.data)
        return FakeResponse([("alpha", [partition])])


def read(network: FakeNetwork) -> PartitionRead:
    return asyncio.run(read_partition(network, TP, 5))


def test_the_bytes_of_the_name_are_kept() -> None:
    found = read(FakeNetwork(batch(b"abc") + batch(b"l\xe4n", 8)))
    assert [record.headers for record in found.records] == [(("abc", b"1"),), (("l\udce4n", b"1"),)]
    assert [(record.offset, record.timestamp, record.value) for record in found.records] == [
        (7, 1_000, b"v"),
        (8, 1_000, b"v"),
    ]
    assert (found.position, found.failure, found.undecodable) == (9, None, frozenset({8}))


def test_records_before_a_bad_checksum_are_returned_with_its_place() -> None:
    found = read(FakeNetwork(batch(b"abc") + batch(b"abc", 8, crc_error=1)))
    assert len(found.records) == 1
    assert found.failure is not None
    assert (found.position, found.failure.cause) == (8, "CorruptRecordException in the batch 8 to 8")


def test_a_batch_that_is_cut_off_is_left_for_the_next_read() -> None:
    found = read(FakeNetwork(batch(b"abc") + batch(b"abc", 8)[:-1]))
    assert (len(found.records), found.position, found.failure) == (1, 8, None)


@pytest.mark.parametrize(
    ("error_code", "leader", "cause", "out_of_range"),
    [
        (1, 1, "OffsetOutOfRangeError", True),
        (29, 1, "TopicAuthorizationFailedError", False),
        (0, -1, "LeaderNotAvailableError", False),
    ],
)
def test_what_the_broker_refuses_is_the_failure(
    error_code: int, leader: int, cause: str, *, out_of_range: bool
) -> None:
    failure = read(FakeNetwork(b"", error_code, leader)).failure
    assert failure is not None
    assert (failure.cause, failure.out_of_range) == (cause, out_of_range)


def test_the_row_keeps_the_bytes_and_the_event_has_them_escaped() -> None:
    headers = (("l\udce4n", b"1"), ("län", b"2"))
    assert decode_headers(encode_headers(headers)) == headers
    event = dead_letter(RawRecord("alpha", 0, 7, 1, None, b"v", headers), DeadLetterReason.BAD_TEXT, "a header name")
    assert event.headers[:2] == (("l\\xe4n", b"1"), ("län", b"2"))
