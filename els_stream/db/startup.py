"""What a process does before it works: wait for a database that is as new as the code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from els_stream.db import schema
from els_stream.db.errors import FailureClass, classify

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

WAIT_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)


async def wait_for_database(engine: AsyncEngine) -> None:
    """As long as it takes, for one that is away. Raises SchemaOutdated if it is older than the code."""
    told = False
    while True:
        try:
            async with engine.connect() as conn:
                await schema.require(conn)
        except (SQLAlchemyError, asyncpg.PostgresError, OSError) as error:
            failure = classify(error)
            if failure.failure_class is not FailureClass.TRANSIENT:
                raise
            if not told:
                log.warning("waiting_for_database", cause=failure.cause)
            told = True
            await asyncio.sleep(WAIT_SECONDS)
        else:
            return
