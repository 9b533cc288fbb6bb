from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.postgres.invariants import violations
from tests.postgres.school import School


@pytest.fixture
async def school(engine: AsyncEngine) -> AsyncIterator[School]:
    """Whatever a test did with it, the invariants hold when it is over."""
    yield School(engine=engine)
    async with engine.connect() as conn:
        assert await violations(conn) == []
