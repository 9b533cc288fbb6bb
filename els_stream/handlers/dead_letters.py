"""Dead letters: the row and its event, in the same transaction as everything else that the record's neighbours did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from els_stream.domain.outcomes import Refused
from els_stream.events.dead_letter import dead_letter
from els_stream.events.input_timestamp import truncate_timestamp
from els_stream.failpoints import Failpoint, failpoint
from els_stream.queries import dead_letters, outbox
from els_stream.queries.dead_letters import DeadLetter, RecordPosition
from els_stream.queries.outbox import OutboxRow

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


async def write_dead_letters(conn: AsyncConnection, burials: Sequence[DeadLetterRequest]) -> None:
    """Keep the records and tell the platform. A dead letter makes and locks no tracker: it is its own order key.

    What fails again after a replay is kept and not told: its event id is the first telling's, with other bytes.
    """
    if not burials:
        return
    letters: dict[RecordPosition, DeadLetter] = {}
    for b in burials:
        letter = DeadLetter(b.record, b.batch_id, b.refusal.reason, b.refusal.message[:_MAX_MESSAGE])
        letters.setdefault(letter.position, letter)  # one record may come twice in a micro-batch
    new = await dead_letters.add(conn, list(letters.values()))
    failpoint(Failpoint.AFTER_DEAD_LETTER_INSERT)
    await outbox.put(conn, [_row(letter) for position, letter in letters.items() if position in new])


async def dead_letter_records(
    conn: AsyncConnection, records: Sequence[RawRecord], reason: DeadLetterReason, message: str
) -> None:
    """Bury records that no handler could apply, for the one reason that the caller found."""
    await write_dead_letters(conn, [DeadLetterRequest(record, None, Refused(reason, message)) for record in records])


def _row(letter: DeadLetter) -> OutboxRow:
    record = letter.record
    return OutboxRow(
        order_key=f"dead-letter:{record.topic}/{record.partition}/{record.offset}/{record.timestamp}",
        sequence=1,
        event=dead_letter(record, letter.reason, letter.message, batch_id=letter.batch_id or ""),
        input_timestamp_low31=truncate_timestamp(record.timestamp),
    )
