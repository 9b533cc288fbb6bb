"""Rows to arrays for `unnest`, and rows back to records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from els_stream.events.headers import decode_headers, encode_headers
from els_stream.events.records import RawRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from sqlalchemy import Row

T = TypeVar("T")


def arrays(rows: Collection[T], **columns: Callable[[T], object]) -> dict[str, list[object]]:
    """Return one array per column: what its function returns for each row, in the order of the rows.

    What runs for each content has comprehensions instead: a call costs several times as much as reading an attribute.
    """
    return {name: list(map(column, rows)) for name, column in columns.items()}


def record_arrays(records: Iterable[RawRecord]) -> dict[str, list[object]]:
    """Return the arrays of Kafka records that `record_from_row` reads back."""
    return arrays(
        list(records),
        topics=lambda r: r.topic,
        partitions=lambda r: r.partition,
        offsets=lambda r: r.offset,
        timestamps=lambda r: r.timestamp,
        keys=lambda r: r.key,
        values=lambda r: r.value,
        headers=lambda r: encode_headers(r.headers),
    )


def record_from_row(row: Row[Any]) -> RawRecord:
    """Return the Kafka record that a row of `batch_pending_events` or `dead_letters` stores."""
    return RawRecord(
        row.source_topic,
        row.source_partition,
        row.source_offset,
        row.source_timestamp,
        row.key,
        row.value,
        decode_headers(row.headers),
    )
