"""A dead letter tried again: its record goes to its handler as if it came now. No ledger row moves, nothing is sent in.

The letter is `replayed` whatever comes of it. A record that fails again has another letter then, linked to its first,
and the platform is not told a second time: the event that it is dead was told, under the id of its place in Kafka.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from els_stream.domain.outcomes import Refused
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.handlers.dead_letters import DeadLetterRequest, bury_each
from els_stream.queries import dead_letter_admin, trackers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.handlers.event_handler import DomainHandler
    from els_stream.queries.dead_letter_admin import DeadLetterRecord


@dataclass(frozen=True, slots=True)
class Accepted:
    """The handler gave the record a fate; `label` says which."""

    label: str


@dataclass(frozen=True, slots=True)
class FailedAgain:
    """Another letter holds the record now."""

    reason: DeadLetterReason
    message: str


@dataclass(frozen=True, slots=True)
class NotReplayable:
    """Nothing was done: there is no such open letter, or its payload is gone."""

    why: str


Replayed: TypeAlias = Accepted | FailedAgain | NotReplayable


async def replay(conn: AsyncConnection, handlers: Mapping[str, DomainHandler], letter_id: int) -> Replayed:
    """Hand the record to the handler of its topic, in the caller's transaction. `handlers` are by logical topic."""
    whole = _replayable(await dead_letter_admin.read(conn, letter_id))
    if isinstance(whole, NotReplayable):
        return whole
    if (handler := handlers.get(whole.letter.topic)) is None:
        return NotReplayable(f"nothing handles {whole.letter.topic}")
    async with conn.begin_nested() as attempt:
        # An open letter is the last of its record, so a refusal buries nothing here.
        (outcome,) = await handler.apply(conn, handler.prepare([whole.record]))
        refusal = outcome if isinstance(outcome, Refused) else None
        if (settled := await _settle(conn, whole, refusal)) is not None:
            await attempt.rollback()
            return settled
    return Accepted(outcome.label) if refusal is None else FailedAgain(refusal.reason, refusal.message)


async def give_up_replay(conn: AsyncConnection, letter_id: int, reason: DeadLetterReason, cause: str) -> Replayed:
    """After the handler failed on it without a verdict of its own: another letter says why."""
    whole = _replayable(await dead_letter_admin.read(conn, letter_id))
    if isinstance(whole, NotReplayable):
        return whole
    refusal = Refused(reason, f"its replay failed: {cause}")
    return await _settle(conn, whole, refusal) or FailedAgain(refusal.reason, refusal.message)


async def _settle(conn: AsyncConnection, whole: DeadLetterRecord, refusal: Refused | None) -> NotReplayable | None:
    """Mark the letter, after its batch is locked: a purge that has the batch goes on to its letters."""
    batch_id = whole.letter.batch_id
    if batch_id is not None:
        await trackers.hold(conn, batch_id)
    if not await dead_letter_admin.mark_replayed(conn, whole):
        now = _replayable(await dead_letter_admin.read(conn, whole.letter.id))
        return now if isinstance(now, NotReplayable) else NotReplayable("somebody else settled it meanwhile")
    if refusal is not None:
        await bury_each(conn, [DeadLetterRequest(whole.record, batch_id, refusal)])
    return None


def _replayable(whole: DeadLetterRecord | None) -> DeadLetterRecord | NotReplayable:
    if whole is None or whole.letter.state != "open":
        return NotReplayable("there is no such dead letter" if whole is None else f"it is {whole.letter.state}")
    return NotReplayable("its payload was removed") if whole.value_is_gone else whole
