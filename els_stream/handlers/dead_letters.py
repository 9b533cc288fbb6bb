"""Dead letters: the row and its event, in the transaction of the micro-batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from els_stream.domain.outcomes import Refused
from els_stream.events.batch_id import batch_id_of
from els_stream.events.dead_letter import dead_letter as dead_letter_event
from els_stream.events.event_ids import dead_letter_subject
from els_stream.events.input_timestamp import truncate_timestamp
from els_stream.failpoints import Failpoint, failpoint
from els_stream.queries import dead_letters, outbox, trackers
from els_stream.queries.dead_letters import DeadLetter, RecordPosition
from els_stream.queries.outbox_rows import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.dead_letter_reasons import DeadLetterReason
    from els_stream.events.records import RawRecord

_MAX_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class DeadLetterRequest:
    """A record that can never be applied, and why."""

    record: RawRecord
    batch_id: str | None
    refusal: Refused


async def write_dead_letters(conn: AsyncConnection, requests: Sequence[DeadLetterRequest]) -> None:
    """Insert the dead letters and their outbox events; the caller has locked their batches, as far as these have a row.

    Each dead letter has an order key of its own, so it creates no tracker.

    A record that fails again after a replay gets another dead letter, but no other event, since the second event would
    have the id of the first one with other bytes.
    """
    if not requests:
        return
    by_position: dict[RecordPosition, DeadLetter] = {}
    for request in requests:
        refusal = request.refusal
        message = refusal.message[:_MAX_MESSAGE]
        dead_letter = DeadLetter(request.record, request.batch_id, refusal.reason, message, refusal.field)
        by_position.setdefault(dead_letter.position, dead_letter)  # one record may come twice in a micro-batch
    new = await dead_letters.add(conn, list(by_position.values()))
    failpoint(Failpoint.AFTER_DEAD_LETTER_INSERT)
    await outbox.put(conn, [_row(dead_letter) for position, dead_letter in by_position.items() if position in new])


async def dead_letter_records(
    conn: AsyncConnection, records: Sequence[RawRecord], reason: DeadLetterReason, message: str
) -> None:
    """Write dead letters for records that no handler could apply, all for the same reason.

    Their batches are locked here, after those that the transaction may have locked already. Should two such
    transactions wait for each other, PostgreSQL rolls one back, and it is tried again.
    """
    refusal = Refused(reason, message)
    requests = [DeadLetterRequest(record, batch_id_of(record.topic, record.value), refusal) for record in records]
    if batch_ids := {request.batch_id for request in requests if request.batch_id is not None}:
        await trackers.lock_existing(conn, batch_ids)
    await write_dead_letters(conn, requests)


def _row(dead_letter: DeadLetter) -> OutboxRow:
    record = dead_letter.record
    return OutboxRow(
        order_key=f"dead-letter:{dead_letter_subject(*dead_letter.position)}",
        sequence=1,
        event=dead_letter_event(record, dead_letter.reason, dead_letter.message, batch_id=dead_letter.batch_id or ""),
        input_timestamp_low31=truncate_timestamp(record.timestamp),
    )
