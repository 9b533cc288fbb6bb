"""A password that is rotated while a worker runs: its file is read again for the next session."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.settings import load_settings
from els_stream.db.engine import Limits, create_engine

ROLE = "els_with_a_rotated_password"
FIRST, SECOND = "s3cr3t-of-monday", "s3cr3t-of-tuesday"


async def one_statement(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await conn.scalar(text("SELECT 1"))


async def test_the_next_session_has_the_new_password(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "database-url"
    url = f"postgresql://{ROLE}:{{}}@{empty_database.rpartition('@')[2]}"
    secret.write_text(url.format(FIRST))
    monkeypatch.delenv("ELS_DATABASE_URL", raising=False)
    monkeypatch.setenv("ELS_DATABASE_URL_FILE", str(secret))
    settings = load_settings(broker_url="127.0.0.1:1")
    engine = create_engine(lambda: settings.database, Limits(), pool_size=1)
    owner = await asyncpg.connect(empty_database)
    await owner.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{FIRST}'")
    try:
        async with engine.connect() as conn:
            assert await conn.scalar(text("SELECT current_user")) == ROLE
        await owner.execute(f"ALTER ROLE {ROLE} PASSWORD '{SECOND}'")
        await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", ROLE)
        with pytest.raises(DBAPIError):  # the first use finds that the session has ended
            await one_statement(engine)
        with pytest.raises(Exception, match="password authentication failed") as caught:
            await one_statement(engine)
        assert FIRST not in str(caught.value)

        secret.write_text(url.format(SECOND))

        async with engine.connect() as conn:
            assert await conn.scalar(text("SELECT current_user")) == ROLE
    finally:
        await engine.dispose()
        await owner.execute(f"DROP ROLE {ROLE}")
        await owner.close()
