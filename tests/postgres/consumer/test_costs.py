"""What a micro-batch costs, in figures that no busy machine changes: statements, round trips, and bytes of WAL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.db.engine import Limits, create_engine
from els_stream.domain.claim_strategy import Strategy
from els_stream.events import topics
from els_stream.events.records import RawRecord
from els_stream.queries import outbox
from els_stream.queries.outbox_rows import SHARD_COUNT
from tests.support.batch_harness import RecordFactory, handlers_by_topic
from tests.support.micro_batches import MicroBatchRunner, chunks
from tests.support.protocol_recorder import ProtocolRecorder, recorded

# BEGIN, the trackers' lock, who holds which slot, the claim, the lists of the batches that are complete, the trackers,
# the outbox, the ledger, COMMIT.
STATEMENTS = 9
MICRO_BATCH = 500
SLOTS = 30

WAL_BYTES_PER_ESSAY = 2600
"""Recorded: 36-character ids, batches of 30 that fill one after the other, outbox and its emptying in it."""

WAL_WRITTEN = """
    SELECT CAST(sum(record_size) AS bigint) FROM pg_get_wal_stats(:since, pg_current_wal_flush_lsn())
"""


@pytest.fixture
async def wire(database: str) -> AsyncIterator[ProtocolRecorder]:
    async with recorded(database) as wire:
        yield wire


@pytest.fixture
async def one_connection(wire: ProtocolRecorder) -> AsyncIterator[AsyncEngine]:
    """A worker's, through the door that counts."""
    engine = create_engine(wire.url.replace("postgresql://", "postgresql+asyncpg://"), Limits(), pool_size=1)
    yield engine
    await engine.dispose()


async def registered(
    engine: AsyncEngine, bag: RecordFactory, batches: int, slots: int, strategy: Strategy
) -> list[str]:
    handlers = handlers_by_topic(strategy=strategy)
    flow = MicroBatchRunner(engine, handlers[topics.BATCH_REGISTERED])
    await flow.initialize()
    ids = [str(uuid4()) for _ in range(batches)]
    records = [bag.registration(batch_id, [str(uuid4()) for _ in range(slots)]) for batch_id in ids]
    await flow.run(records, 100)
    return ids


def content(bag: RecordFactory, batch_id: str, number: int) -> RawRecord:
    names = ("file_upload_id", "text_storage_id", "raw_file_storage_id")
    return bag.content(number, batch_id, **{name: str(uuid4()) for name in names})


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("contents", [1, MICRO_BATCH])
async def test_a_micro_batch_says_as_much_to_the_database_however_many_contents_it_has(
    one_connection: AsyncEngine, wire: ProtocolRecorder, contents: int, strategy: Strategy
) -> None:
    """Every content completes a batch that has held a slot before: nothing that a micro-batch may need is left out."""
    bag = RecordFactory()
    flow = MicroBatchRunner(one_connection, handlers_by_topic(strategy=strategy)[topics.CONTENT_PROVISIONED])
    await flow.initialize()
    batches = await registered(one_connection, bag, 2 * contents, 2, strategy)
    bag = RecordFactory()
    for half in (batches[:contents], batches[contents:]):  # the first prepares the statements
        await flow.micro_batch([content(bag, batch_id, 0) for batch_id in half])
        wire.messages.clear()
        assert set(await flow.micro_batch([content(bag, batch_id, 1) for batch_id in half])) == {"assigned"}

    # Two-step takes the slots in one statement, and writes the essays in another.
    expected = STATEMENTS + (strategy is Strategy.TWO_STEP)
    assert (wire.statements, wire.round_trips) == (expected, expected), (
        f"a micro-batch executes {expected} statements over arrays and prepares none again: {wire.messages}"
    )


async def emptied(conn: AsyncConnection) -> None:
    """As the relay does it."""
    await outbox.delete(conn, await outbox.fetch(conn, range(SHARD_COUNT), rows=2000, size=2**30))
    await conn.commit()


async def test_an_essay_writes_no_more_wal_than_it_did(engine: AsyncEngine) -> None:
    """Without the images of pages that follow a checkpoint: how many these are is chance."""
    bag = RecordFactory()
    flow = MicroBatchRunner(engine, handlers_by_topic()[topics.CONTENT_PROVISIONED])
    await flow.initialize()
    batches = await registered(engine, bag, 200, SLOTS, Strategy.OPTION_B)
    bag = RecordFactory()
    records = [content(bag, batch_id, number) for batch_id in batches for number in range(SLOTS)]
    async with engine.connect() as conn:
        await conn.execute(text("CREATE EXTENSION pg_walinspect"))
        await conn.commit()
        since = await conn.scalar(text("SELECT pg_current_wal_flush_lsn()"))
        for chunk in chunks(records, MICRO_BATCH):
            await flow.micro_batch(chunk)
            await emptied(conn)
        written = int(await conn.scalar(text(WAL_WRITTEN), {"since": since}) or 0)

    per_essay = written / len(records)
    assert per_essay == pytest.approx(WAL_BYTES_PER_ESSAY, rel=0.1), (
        f"{per_essay:.0f} bytes of WAL for each essay: a good transaction updates the essay's row once, adds it to "
        "three indexes, and writes and deletes one outbox row; if it costs less now, record it"
    )
