"""A primary and its standby."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from els_stream.db import migration
from tests.support.local_postgres import LocalPostgres, embedded_binaries


@asynccontextmanager
async def primary_and_standby(folder: Path) -> AsyncIterator[tuple[LocalPostgres, LocalPostgres]]:
    """A migrated primary, and a standby that the primary waits for: what is committed is on both."""
    binaries = embedded_binaries(folder)
    async with LocalPostgres(binaries, folder, "first") as first, LocalPostgres(binaries, folder, "second") as second:
        await first.create()
        await migration.upgrade(first.url())
        await second.copy(first)
        first.configure({"synchronous_standby_names": "*"})
        first.reload()
        yield first, second
