"""Arrays that travel as texts arrive as they were, whatever their elements contain."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.queries.packed_arrays import packed, text_with_packed_arrays

BACK = text_with_packed_arrays("SELECT CAST(:names AS text[]), CAST(:sizes AS bigint[]), CAST(:ids AS uuid[])")
ID = UUID("00000000-0000-4000-8000-000000000042")

LISTS: list[list[str | None]] = [
    [],
    [""],
    [None],
    ["", None, ""],
    ["On the Migration of Swallows.docx", "{1,2}", 'say "NULL"', "NULL", "back\\slash", "ünïcödé ✍"],
    ["\x1f"],
    ["unit\x1fseparator", None, "record\x1eseparator", "\x1e"],
    [None, "\x1e", "\x1f\x1f", ""],
]


@pytest.mark.parametrize("names", LISTS)
async def test_elements_arrive_as_they_were(engine: AsyncEngine, names: list[str | None]) -> None:
    sizes = [str(2**63 - 1 - number) for number in range(len(names))]
    parameters = packed({"names": names, "sizes": sizes, "ids": [str(ID)] * len(names)})

    async with engine.connect() as conn:
        (arrived,) = await conn.execute(BACK, parameters)

    assert tuple(arrived) == (names, [int(size) for size in sizes], [ID] * len(names))


async def test_the_planner_knows_the_length_of_a_packed_array(engine: AsyncEngine) -> None:
    explain = text_with_packed_arrays("EXPLAIN SELECT * FROM unnest(CAST(:names AS text[])) AS i (name)")

    async with engine.connect() as conn:
        plan = str(await conn.scalar(explain, packed({"names": ["essay"] * 321})))

    assert "rows=321 " in plan
