"""Events survive a segment byte for byte, in order, whatever is in them."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from els_stream.events.outbound_event import OutboundEvent
from els_stream.queries.outbox_rows import OutboxRow, to_waiting_row
from els_stream.queries.segment_codec import (
    MAX_SEGMENT_BYTES,
    UnknownFormatError,
    decode,
    encode,
    size_of,
    split,
)

BYTES = st.binary(max_size=300)
ROWS = st.builds(
    OutboxRow,
    st.text(min_size=1, max_size=255),
    st.integers(1, 2**63 - 1),
    st.builds(OutboundEvent, st.uuids(), st.text(max_size=60), st.none() | BYTES, st.none() | BYTES, BYTES),
    st.none() | st.integers(0, 2**31 - 1),
)


def large(number: int, size: int) -> OutboxRow:
    return OutboxRow("9b", number, OutboundEvent(UUID(int=number), "topic", b"9b", bytes(size), b"[]"))


@given(st.lists(ROWS, min_size=1, max_size=30), st.integers(0, 95))
def test_events_come_back_byte_for_byte_and_in_order(rows: list[OutboxRow], shard: int) -> None:
    [(segment, size)] = split(rows)

    assert segment == rows
    assert decode(encode(segment, size), shard) == [to_waiting_row(row, shard) for row in rows]


@given(st.lists(st.integers(0, 2 * MAX_SEGMENT_BYTES), min_size=1, max_size=12))
def test_segments_have_all_events_in_order_and_a_limited_size(sizes: list[int]) -> None:
    rows = [large(number, size) for number, size in enumerate(sizes)]

    segments = list(split(rows))

    assert [row for segment, _ in segments for row in segment] == rows
    for segment, size in segments:
        assert size == sum(map(size_of, segment))
        assert size <= MAX_SEGMENT_BYTES or len(segment) == 1


def test_large_events_are_stored_as_they_are() -> None:
    [(segment, size)] = split([large(1, MAX_SEGMENT_BYTES)])

    payload = encode(segment, size)

    assert len(payload) > MAX_SEGMENT_BYTES
    assert decode(payload, 7) == [to_waiting_row(segment[0], 7)]


@pytest.mark.parametrize("payload", [b"", b"\x02whatever", b"[]"])
def test_an_unknown_format_is_an_error_and_no_empty_segment(payload: bytes) -> None:
    with pytest.raises(UnknownFormatError):
        decode(payload, 0)
