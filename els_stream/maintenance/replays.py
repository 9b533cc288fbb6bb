"""Replays as an operator runs them: each letter in a transaction of its own, tried again where that may help."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from els_stream.backoff import Backoff
from els_stream.db.errors import DATABASE_ERRORS, ClassifiedError, FailureClass, classify
from els_stream.errors import ServersUnavailable
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.maintenance.replay import give_up_replay, replay

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.config.settings import Settings
    from els_stream.handlers.event_handler import DomainHandler
    from els_stream.maintenance.replay import Replayed

log = logging.getLogger(__name__)

TRIES: Final = 6


class Replays:
    def __init__(self, engine: AsyncEngine, handlers: Mapping[str, DomainHandler], backoff: Backoff) -> None:
        """`handlers` are by logical topic."""
        self._engine = engine
        self._handlers = handlers
        self._backoff = backoff

    @classmethod
    def of(cls, settings: Settings, handlers: Iterable[DomainHandler], engine: AsyncEngine) -> Replays:
        backoff = Backoff(settings.retry_initial_seconds, settings.retry_max_seconds)
        return cls(engine, {handler.topic: handler for handler in handlers}, backoff)

    async def one(self, letter_id: int) -> Replayed:
        """Raises ServersUnavailable when the database stays away; the letter is open then, as before."""
        failure = ClassifiedError(FailureClass.UNEXPECTED, "")
        for attempt in range(1, TRIES + 1):
            try:
                async with self._engine.begin() as conn:
                    return await replay(conn, self._handlers, letter_id)
            except DATABASE_ERRORS as error:
                failure = classify(error)
            except Exception as error:
                log.exception("the replay of dead letter %d failed for an unforeseen reason", letter_id)
                failure = ClassifiedError(FailureClass.UNEXPECTED, type(error).__name__)
            if failure.failure_class in {FailureClass.DATA_ERROR, FailureClass.UNEXPECTED}:
                break
            await asyncio.sleep(self._backoff.equal_jitter(attempt))
        return await self._given_up(letter_id, failure)

    async def _given_up(self, letter_id: int, failure: ClassifiedError) -> Replayed:
        match failure.failure_class:
            case FailureClass.DATA_ERROR:
                reason = DeadLetterReason.DATABASE_REFUSED
            case FailureClass.UNEXPECTED:
                reason = DeadLetterReason.UNPROCESSABLE
            case _:
                raise ServersUnavailable(f"dead letter {letter_id} could not be replayed: {failure.cause}")
        async with self._engine.begin() as conn:
            return await give_up_replay(conn, letter_id, reason, failure.cause)
