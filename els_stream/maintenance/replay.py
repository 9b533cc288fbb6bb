"""Replay of dead letters: the handler of the topic gets the record again, as if it had just been consumed.

No stored offset moves, and nothing is written to the input topics. The dead letter becomes `replayed` whatever the
outcome is. A record that fails again gets another dead letter, linked to its first; no second dead letter event is
published, since its id is derived from the position of the record in Kafka and was published already.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from els_stream.backoff import Backoff
from els_stream.db.errors import DATABASE_ERRORS, ClassifiedError, FailureClass, classify
from els_stream.domain.outcomes import Refused
from els_stream.errors import ServersUnavailable
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.handlers.dead_letters import DeadLetterRequest, write_dead_letters
from els_stream.handlers.handler import process
from els_stream.queries import dead_letter_admin, trackers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from els_stream.config.settings import Settings
    from els_stream.handlers.event_handler import DomainHandler
    from els_stream.queries.dead_letter_admin import DeadLetterRecord

log = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 6


@dataclass(frozen=True, slots=True)
class Accepted:
    """The handler accepted the record; `label` is the label of its outcome."""

    label: str


@dataclass(frozen=True, slots=True)
class FailedAgain:
    """The record failed again and has another dead letter."""

    reason: DeadLetterReason
    message: str


@dataclass(frozen=True, slots=True)
class NotReplayable:
    """The dead letter was not replayed; `why` is the reason."""

    why: str


Replayed: TypeAlias = Accepted | FailedAgain | NotReplayable


class Replays:
    """Replays dead letters, each in its own transaction, with retries where those may help."""

    def __init__(self, engine: AsyncEngine, handlers: Mapping[str, DomainHandler], backoff: Backoff) -> None:
        """`handlers` are by logical topic."""
        self._engine = engine
        self._handlers = handlers
        self._backoff = backoff

    @classmethod
    def from_settings(cls, settings: Settings, handlers: Iterable[DomainHandler], engine: AsyncEngine) -> Replays:
        backoff = Backoff(settings.retry_initial_seconds, settings.retry_max_seconds)
        return cls(engine, {handler.topic: handler for handler in handlers}, backoff)

    async def replay_one(self, dead_letter_id: int) -> Replayed:
        """Replay one dead letter.

        Raises ServersUnavailable when the database does not answer after all retries; the dead letter stays open.
        """
        failure = ClassifiedError(FailureClass.UNEXPECTED, "")
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                async with self._engine.begin() as conn:
                    return await replay(conn, self._handlers, dead_letter_id)
            except DATABASE_ERRORS as error:
                failure = classify(error)
            except Exception as error:
                log.exception("the replay of dead letter %d failed for an unforeseen reason", dead_letter_id)
                failure = ClassifiedError(FailureClass.UNEXPECTED, type(error).__name__)
            if failure.failure_class in {FailureClass.DATA_ERROR, FailureClass.UNEXPECTED}:
                break
            await asyncio.sleep(self._backoff.equal_jitter(attempt))
        return await self._record_failure(dead_letter_id, failure)

    async def _record_failure(self, dead_letter_id: int, failure: ClassifiedError) -> Replayed:
        match failure.failure_class:
            case FailureClass.DATA_ERROR:
                reason = DeadLetterReason.DATABASE_REFUSED
            case FailureClass.UNEXPECTED:
                reason = DeadLetterReason.UNPROCESSABLE
            case _:
                raise ServersUnavailable(f"dead letter {dead_letter_id} could not be replayed: {failure.cause}")
        async with self._engine.begin() as conn:
            return await fail_replay(conn, dead_letter_id, reason, failure.cause)


async def replay(conn: AsyncConnection, handlers: Mapping[str, DomainHandler], dead_letter_id: int) -> Replayed:
    """Apply the record of a dead letter in the caller's transaction. `handlers` are by logical topic."""
    dead_letter = _replayable(await dead_letter_admin.read(conn, dead_letter_id))
    if isinstance(dead_letter, NotReplayable):
        return dead_letter
    if (handler := handlers.get(dead_letter.summary.topic)) is None:
        return NotReplayable(f"nothing handles {dead_letter.summary.topic}")
    async with conn.begin_nested() as attempt:
        # An open dead letter is the last of its record, so a handler that refuses the record adds no other here.
        (outcome,) = await process(handler, conn, [dead_letter.record])
        refusal = outcome if isinstance(outcome, Refused) else None
        if (not_replayable := await _mark_replayed(conn, dead_letter, refusal)) is not None:
            await attempt.rollback()
            return not_replayable
    return Accepted(outcome.label) if refusal is None else FailedAgain(refusal.reason, refusal.message)


async def fail_replay(conn: AsyncConnection, dead_letter_id: int, reason: DeadLetterReason, cause: str) -> Replayed:
    """Record that the replay raised an error instead of returning an outcome; a new dead letter gets the reason."""
    dead_letter = _replayable(await dead_letter_admin.read(conn, dead_letter_id))
    if isinstance(dead_letter, NotReplayable):
        return dead_letter
    refusal = Refused(reason, f"its replay failed: {cause}")
    return await _mark_replayed(conn, dead_letter, refusal) or FailedAgain(refusal.reason, refusal.message)


async def _mark_replayed(
    conn: AsyncConnection, dead_letter: DeadLetterRecord, refusal: Refused | None
) -> NotReplayable | None:
    """Mark the dead letter and add the next one after a refusal. Return NotReplayable if another process was faster.

    Locks the batch before its dead letter, in the same order as a purge.
    """
    batch_id = dead_letter.summary.batch_id
    if batch_id is not None:
        await trackers.lock_existing(conn, [batch_id])
    if not await dead_letter_admin.mark_replayed(conn, dead_letter):
        now = _replayable(await dead_letter_admin.read(conn, dead_letter.summary.id))
        return now if isinstance(now, NotReplayable) else NotReplayable("another process resolved it meanwhile")
    if refusal is not None:
        await write_dead_letters(conn, [DeadLetterRequest(dead_letter.record, batch_id, refusal)])
    return None


def _replayable(dead_letter: DeadLetterRecord | None) -> DeadLetterRecord | NotReplayable:
    if dead_letter is None:
        return NotReplayable("there is no such dead letter")
    if dead_letter.summary.state != "open":
        return NotReplayable(f"it is {dead_letter.summary.state}")
    return NotReplayable("its payload was removed") if dead_letter.value_is_gone else dead_letter
