"""A hot standby is passed over for its primary, and used once it is the primary."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from els_stream.db.engine import Limits, create_engine
from els_stream.postgres.connect import Connector
from els_stream.postgres.session import ReadOnlyServer, SessionNeeds
from tests.support.local_postgres import PASSWORD, USER
from tests.support.standby import primary_and_standby
from tests.support.waiting import until

NEEDS = SessionNeeds(name="els test")
PORT = text("SELECT current_setting('port')::integer")


async def test_a_standby_is_used_once_it_is_the_primary(tmp_path: Path) -> None:
    async with primary_and_standby(tmp_path) as (first, second):
        with pytest.raises(ReadOnlyServer):
            await Connector(second.url(), NEEDS).connect()
        hosts = f"127.0.0.1:{second.port},127.0.0.1:{first.port}"
        engine = create_engine(f"postgresql://{USER}:{PASSWORD}@{hosts}/{USER}", Limits(), pool_size=1)
        try:
            async with engine.connect() as conn:
                assert await conn.scalar(PORT) == first.port
            await first.crash()
            await second.promote()

            async def moved() -> bool:
                try:
                    async with engine.connect() as conn:
                        return bool(await conn.scalar(PORT) == second.port)
                except (OSError, DBAPIError):
                    return False

            await until(moved)
        finally:
            await engine.dispose()
