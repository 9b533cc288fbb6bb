"""Plans of the hot path with the worst statistics: gathered while the tables were empty, before 50 000 rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.config.settings import load_settings
from els_stream.db import migration
from els_stream.db.engine import Limits, create_engine
from els_stream.domain.batch import Content, Slot
from els_stream.domain.claim_strategy import SlotTable, Strategy
from els_stream.embedded.databases import create_database, drop_database
from els_stream.embedded.servers import Addresses
from els_stream.events.decoder import decode_content
from els_stream.queries import claims, outbox_segments, slots, stats, trackers
from els_stream.queries.outbox_rows import SHARD_COUNT
from els_stream.queries.slots import Upload
from els_stream.relay.factory import create_relay_engine
from tests.postgres.queries.test_outbox_exceptions_plans import MANY as OUTBOX
from tests.postgres.queries.test_outbox_exceptions_plans import fill as fill_outbox
from tests.support import factories as make
from tests.support.batch_builders import SOURCE
from tests.support.bulk_data import BulkData
from tests.support.query_plans import PlanWork, with_empty_statistics, work_of

CLAIMED = 500
PAGES_PER_ROW = 60
"""Enough for the depth of an index, the row and its new index entries; a bad plan reads thousands."""


def crowds(name: str, batches: int, slots: int, filled: int) -> dict[SlotTable, BulkData]:
    return {kind: BulkData(f"{name} {kind}", batches, slots, filled, inventory=kind) for kind in SlotTable}


HOT = crowds("hot", 1, 25_000, 12_000)
MANY = crowds("many", 25_000, 2, 1)
TRACKERS = sum(crowd.batches for crowd in (*HOT.values(), *MANY.values()))
BOTH = pytest.mark.parametrize("crowd", [HOT, MANY], ids=["one hot batch", "many batches"])


@pytest.fixture(scope="module")
def crowded(addresses: Addresses) -> Iterator[str]:
    """A filled database with statistics of empty tables; the tests of this module change nothing in it."""
    name = f"crowded_{uuid4().hex[:12]}"
    yield asyncio.run(fill(addresses.database_url, name))
    asyncio.run(drop_database(addresses.database_url, name))


async def fill(server: str, name: str) -> str:
    url = (await create_database(server, name)).replace("postgresql://", "postgresql+asyncpg://")
    await migration.upgrade(url)
    engine = create_engine(url, Limits(statement=60))
    await with_empty_statistics(engine)
    async with engine.begin() as conn:
        for crowd in (*HOT.values(), *MANY.values()):
            await crowd.add(conn)
    await fill_outbox(engine, keys=2000)
    await engine.dispose()
    return url


@pytest.fixture
async def engine(crowded: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(crowded, Limits())
    yield engine
    await engine.dispose()


def batch_ids(crowd: BulkData) -> list[str]:
    """Return a batch id for each of CLAIMED contents, spread evenly over the batches."""
    batches = min(crowd.batches, CLAIMED)
    return [crowd.batch_id(number + 1) for number in range(batches) for _ in range(CLAIMED // batches)]


def holder(batch_id: str, number: int) -> tuple[Slot, Content]:
    content = Content(decode_content(make.content(batch_id, number=number)).data, UUID(int=number), SOURCE)
    return Slot(content.event.file_upload_id, content.event.text_storage_id, new_holder=content), content


def assert_cheap(work: PlanWork, most: int, good: str) -> None:
    assert work.rows <= most, f"{work.rows} rows read: {good}\n{work.plans}"
    assert work.pages <= PAGES_PER_ROW * most, f"{work.pages} pages read: {good}\n{work.plans}"
    assert not work.scanned, f"scanned {work.scanned}: {good}\n{work.plans}"


@BOTH
@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_claim_reads_only_the_slots_that_it_takes(
    engine: AsyncEngine, crowd: dict[SlotTable, BulkData], strategy: Strategy
) -> None:
    inventory = SlotTable.ESSAY_STATES if strategy is Strategy.OPTION_B else SlotTable.SLOT_ASSIGNMENTS
    ids = batch_ids(crowd[inventory])
    async with engine.begin() as conn:
        batches = await trackers.lock(conn, ids)

    async def claim(conn: AsyncConnection) -> None:
        wanted = [claims.SlotClaim(batches[one], holder(one, n)[0]) for n, one in enumerate(ids)]
        await claims.claim(conn, wanted, datetime.now(UTC), strategy)

    # Each slot is found and updated, in one table or in both.
    tables = 1 if strategy is Strategy.OPTION_B else 2
    work = await work_of(engine, claim)

    assert_cheap(work, (tables + 1) * CLAIMED + 50, f"a good claim finds {CLAIMED} free slots and writes these")


@BOTH
async def test_locking_trackers_reads_only_these_trackers(
    engine: AsyncEngine, crowd: dict[SlotTable, BulkData]
) -> None:
    ids = set(batch_ids(crowd[SlotTable.ESSAY_STATES]))

    work = await work_of(engine, lambda conn: trackers.lock(conn, ids))

    good = (
        "a good lock counts its rows in the index, locks them, compares their versions and adds the holders to the last"
    )
    assert_cheap(work, 4 * len(ids), good)


@BOTH
async def test_reading_slot_holders_costs_two_index_probes_per_content(
    engine: AsyncEngine, crowd: dict[SlotTable, BulkData]
) -> None:
    here = crowd[SlotTable.ESSAY_STATES]
    uploads = []
    for number, batch_id in enumerate(batch_ids(here)):
        essay = here.essay_id(int(batch_id[-8:]), number % here.filled + 1)
        uploads.append(Upload(batch_id, f"upload-{essay}", f"text-{essay}"))

    async def holders(conn: AsyncConnection) -> None:
        assert len(list(await slots.holders(conn, uploads))) == len(set(uploads))

    work = await work_of(engine, holders)

    assert_cheap(work, 2 * CLAIMED, "good look-ups find the slot by its upload and by its text, and nothing else")


@BOTH
async def test_the_list_of_a_complete_batch_reads_only_its_slots(
    engine: AsyncEngine, crowd: dict[SlotTable, BulkData]
) -> None:
    ids = set(batch_ids(crowd[SlotTable.ESSAY_STATES]))

    work = await work_of(engine, lambda conn: slots.filled(conn, ids))

    assert_cheap(
        work, len(ids) * crowd[SlotTable.ESSAY_STATES].slots, "a good list is one range of an index for each batch"
    )


async def test_the_relay_reads_only_the_rows_that_it_sends(addresses: Addresses, crowded: str) -> None:
    engine = create_relay_engine(load_settings(broker_url=addresses.broker, database_url=crowded))

    async def send(conn: AsyncConnection) -> None:
        segments, _ = await outbox_segments.fetch(conn, range(SHARD_COUNT), events=CLAIMED, size=2**30)
        await outbox_segments.delete(conn, segments)

    work = await work_of(engine, send)
    await engine.dispose()

    # Each row is fetched, found again by its key, and deleted.
    assert_cheap(work, 3 * CLAIMED + 2 * SHARD_COUNT, "a good relay stops where its limit does, and deletes by key")


async def test_the_gauges_read_each_row_once_at_most(engine: AsyncEngine) -> None:
    work = await work_of(engine, stats.read_stats)

    assert work.rows <= OUTBOX + TRACKERS + 2 * SHARD_COUNT, (
        f"{work.rows} rows read: good gauges count once\n{work.plans}"
    )
    assert "batch_essay_trackers" not in work.scanned, f"good gauges count batches in an index\n{work.plans}"
