"""Validation failures with unknown codes are counted; those with known ones cost nothing."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.queries.unknown_codes import read_unknown_codes
from tests.support.batch_harness import BatchHarness
from tests.support.query_plans import work_of

KNOWN: Final = 2000
# A table of so many failures has hundreds.
MAX_PAGES: Final = 20


async def test_unknown_codes_are_counted_and_known_ones_are_not_read(engine: AsyncEngine) -> None:
    harness = BatchHarness(engine=engine)
    await harness.together(harness.registration(essays=1))
    await harness.together(*(harness.failure(number) for number in range(KNOWN)))
    codes = ["DOG_ATE_IT", "LEFT_ON_THE_BUS", "DOG_ATE_IT"]
    await harness.together(
        *(harness.failure(KNOWN + n, validation_error_code=code) for n, code in enumerate(codes)),
        harness.failure(0, "early", validation_error_code="DOG_ATE_IT"),  # pending: it is counted once it is applied
    )

    async with engine.connect() as conn:
        found = await read_unknown_codes(conn)
    work = await work_of(engine, read_unknown_codes)

    assert [(one.code, one.count, one.last_hour) for one in found] == [("DOG_ATE_IT", 2, 2), ("LEFT_ON_THE_BUS", 1, 1)]
    assert work.pages < MAX_PAGES, work.plans
