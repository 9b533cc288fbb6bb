"""The wait for a database with the schema of this code, before a process starts its work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from els_stream.db import schema
from els_stream.db.errors import DATABASE_ERRORS, FailureClass, classify
from els_stream.db.explanations import explain_database_error, reason
from els_stream.db.suitability import require_rights
from els_stream.errors import ElsError

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncEngine

RETRY_INTERVAL_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)


async def wait_for_database(engine: AsyncEngine, tables: Collection[str]) -> None:
    """Wait until the database answers, without a limit; the role must be able to read and write these tables.

    Raises SchemaOutdated if its schema is older than the code, and ConfigurationError if it can't be used.
    """
    logged = False
    while True:
        try:
            async with engine.connect() as conn:
                await schema.require(conn)
                await require_rights(conn, tables)
        except ElsError:
            raise
        except DATABASE_ERRORS as error:
            if classify(error).failure_class is not FailureClass.TRANSIENT:
                raise explain_database_error(error, _url(engine)) from error
            if not logged:
                log.warning("waiting_for_database", cause=reason(error))
            logged = True
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)
        else:
            return


def _url(engine: AsyncEngine) -> str:
    return engine.url.render_as_string(hide_password=True)
