"""Open dead letters are grouped by reason, field and topic."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.events import topics
from els_stream.queries import dead_letter_admin
from els_stream.queries.dead_letter_admin import DeadLetterFilter
from els_stream.queries.dead_letter_groups import read_groups
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness


@pytest.fixture
async def harness(engine: AsyncEngine) -> BatchHarness:
    """Four contents without a valid size, one registration of an unknown course, one text, one conflict."""
    harness = BatchHarness(engine=engine)
    await harness.together(harness.registration(essays=1))
    await harness.together(*(harness.content(number, file_size_bytes=-number) for number in range(1, 5)))
    await harness.together(harness.registration("other", essays=1, course_code="SV9"), harness.registration(essays=2))
    await harness.together(harness.record(topics.CONTENT_PROVISIONED, b"Dear Sir or Madam,"))
    return harness


@pytest.fixture
async def conn(harness: BatchHarness) -> AsyncIterator[AsyncConnection]:
    async with harness.engine.connect() as conn:
        yield conn


async def test_dead_letters_are_grouped_the_largest_first(conn: AsyncConnection) -> None:
    groups = await read_groups(conn)

    assert [(group.reason, group.field, group.topic, group.count, group.last_hour) for group in groups] == [
        ("contract_violation", "data.file_size_bytes", topics.CONTENT_PROVISIONED, 4, 4),
        ("not_json", None, topics.CONTENT_PROVISIONED, 1, 1),
        ("conflicting_registration", None, topics.BATCH_REGISTERED, 1, 1),
        ("contract_violation", "data.course_code", topics.BATCH_REGISTERED, 1, 1),
    ]
    assert groups[0].message.startswith("data.file_size_bytes: Input should be greater than or equal to 0")
    assert groups[0].is_violation
    assert not groups[1].is_violation


@pytest.mark.parametrize(("field", "count"), [("data.file_size_bytes", 4), ("", 2), (None, 7), ("data", 0)])
async def test_dead_letters_are_selected_by_their_field(conn: AsyncConnection, field: str | None, count: int) -> None:
    filters = DeadLetterFilter(state="open", field=field)

    assert (await dead_letter_admin.count_and_last_id(conn, filters))[0] == count


async def test_a_violation_that_names_its_batch_is_found_under_it(harness: BatchHarness) -> None:
    rows = await harness.rows("SELECT batch_id FROM dead_letters WHERE field = 'data.file_size_bytes'")

    assert {row.batch_id for row in rows} == {make.BATCH}
