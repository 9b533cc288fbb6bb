"""A dead letter tried again: its record goes to its handler as if it came now. No ledger row moves, nothing is sent in.

The letter is `replayed` whatever comes of it. A record that fails again has another letter then, linked to its first,
and the platform is not told a second time: the event that it is dead was told, under the id of its place in Kafka.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from els_stream.contracts.reasons import DeadLetterReason
from els_stream.decisions.outcomes import Refused
from els_stream.handlers.burial import Burial, bury_each
from els_stream.statements import letters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.handlers.handler import Handler


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


async def replay(conn: AsyncConnection, handlers: Mapping[str, Handler], letter_id: int) -> Replayed:
    """Hand the record to the handler of its topic, in the caller's transaction. `handlers` are by logical topic."""
    whole = await letters.take(conn, letter_id)
    if whole is None or whole.letter.state != "open":
        return NotReplayable("there is no such dead letter" if whole is None else f"it is {whole.letter.state}")
    if whole.value_is_gone:
        return NotReplayable("its payload was removed")
    if (handler := handlers.get(whole.letter.topic)) is None:
        return NotReplayable(f"nothing handles {whole.letter.topic}")
    await letters.mark_replayed(conn, letter_id)
    (outcome,) = await handler.apply(conn, handler.prepare([whole.record]))
    return FailedAgain(outcome.reason, outcome.message) if isinstance(outcome, Refused) else Accepted(outcome.label)


async def give_up_replay(conn: AsyncConnection, letter_id: int, reason: DeadLetterReason, cause: str) -> Replayed:
    """After the handler failed on it without a verdict of its own: another letter says why."""
    whole = await letters.take(conn, letter_id)
    if whole is None or whole.letter.state != "open":
        return NotReplayable("somebody else settled it meanwhile")
    await letters.mark_replayed(conn, letter_id)
    refusal = Refused(reason, f"its replay failed: {cause}")
    await bury_each(conn, [Burial(whole.record, whole.letter.batch_id, refusal)])
    return FailedAgain(refusal.reason, refusal.message)
