"""The wait for a database with the schema of this code, before a process starts its work."""

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

RETRY_INTERVAL_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)


async def wait_for_database(engine: AsyncEngine) -> None:
    """Wait until the database answers, without a limit. Raises SchemaOutdated if its schema is older than the code."""
    logged = False
    while True:
        try:
            async with engine.connect() as conn:
                await schema.require(conn)
        except (SQLAlchemyError, asyncpg.PostgresError, OSError) as error:
            failure = classify(error)
            if failure.failure_class is not FailureClass.TRANSIENT:
                raise
            if not logged:
                log.warning("waiting_for_database", cause=failure.cause)
            logged = True
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)
        else:
            return
