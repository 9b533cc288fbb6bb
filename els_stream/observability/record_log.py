"""Log fields of single records: ids and outcomes, never a student's text or name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from els_stream.domain.outcomes import Refused
from els_stream.events.trace_context import correlation_of
from els_stream.handlers.decoding import DecodedEvent, InvalidRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from els_stream.handlers.event_handler import DecodedRecord
    from els_stream.handlers.handler import HasLabel

MAX_LOGGED_RECORDS: Final = 5


def log_fields(readings: Sequence[object], outcomes: Sequence[HasLabel]) -> list[dict[str, str]]:
    """Return the log fields of each record of a small micro-batch; of a larger one, those of the first dead letters."""
    both = zip(readings, outcomes, strict=True)
    logged = (
        both
        if len(outcomes) <= MAX_LOGGED_RECORDS
        else [(r, o) for r, o in both if isinstance(o, Refused)][:MAX_LOGGED_RECORDS]
    )
    return [_ids(reading, outcome) for reading, outcome in logged if isinstance(reading, DecodedEvent | InvalidRecord)]


def _ids(reading: DecodedRecord, outcome: HasLabel) -> dict[str, str]:
    record = reading.record
    ids = {"record": f"{record.topic}/{record.partition}/{record.offset}", "outcome": outcome.label}
    if isinstance(outcome, Refused):
        ids["reason"] = outcome.reason.value
    if reading.batch_id is not None:
        ids["batch_id"] = reading.batch_id
    correlation_id = (
        str(reading.correlation_id) if isinstance(reading, DecodedEvent) else correlation_of(record.headers)
    )
    if correlation_id is not None:
        ids["correlation_id"] = correlation_id
    return ids
