"""The costs of a micro-batch that do not depend on the machine: statements, round trips and bytes of WAL."""

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
from els_stream.queries import outbox_segments
from els_stream.queries.outbox_rows import SHARD_COUNT
from tests.support.batch_harness import RecordFactory, handlers_by_topic
from tests.support.micro_batches import MicroBatchRunner, chunks
from tests.support.protocol_recorder import ProtocolRecorder, recorded

# BEGIN, lock of the trackers with the holders of slots, claim, essay lists of complete batches, outbox with the
# trackers, stored offsets, COMMIT.
STATEMENTS = 7
MICRO_BATCH = 500
SLOTS = 30

WAL_BYTES_PER_ESSAY = 1180
"""Measured with ids of 36 characters and batches of 30, filled one after the other; includes deleted segments."""

WAL_WRITTEN = """
    SELECT CAST(sum(record_size) AS bigint) FROM pg_get_wal_stats(:since, pg_current_wal_flush_lsn())
"""


@pytest.fixture
async def recorder(database: str) -> AsyncIterator[ProtocolRecorder]:
    async with recorded(database) as recorder:
        yield recorder


@pytest.fixture
async def one_connection(recorder: ProtocolRecorder) -> AsyncIterator[AsyncEngine]:
    """An engine with one connection, through the recorder."""
    engine = create_engine(recorder.url.replace("postgresql://", "postgresql+asyncpg://"), Limits(), pool_size=1)
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
async def test_the_number_of_statements_does_not_depend_on_the_number_of_contents(
    one_connection: AsyncEngine, recorder: ProtocolRecorder, contents: int, strategy: Strategy
) -> None:
    """Every content completes a batch with an assigned slot, so that the micro-batch needs every statement."""
    bag = RecordFactory()
    flow = MicroBatchRunner(one_connection, handlers_by_topic(strategy=strategy)[topics.CONTENT_PROVISIONED])
    await flow.initialize()
    batches = await registered(one_connection, bag, 2 * contents, 2, strategy)
    bag = RecordFactory()
    for half in (batches[:contents], batches[contents:]):  # the first prepares the statements
        await flow.micro_batch([content(bag, batch_id, 0) for batch_id in half])
        recorder.messages.clear()
        assert set(await flow.micro_batch([content(bag, batch_id, 1) for batch_id in half])) == {"assigned"}

    # The two-step strategy claims slots in one statement and writes the essays in another.
    expected = STATEMENTS + (strategy is Strategy.TWO_STEP)
    assert (recorder.statements, recorder.round_trips) == (expected, expected), (
        f"a micro-batch executes {expected} statements over arrays and prepares none again: {recorder.messages}"
    )


async def emptied(conn: AsyncConnection) -> None:
    """Delete the outbox rows as the relay does."""
    segments, _ = await outbox_segments.fetch(conn, range(SHARD_COUNT), events=2000, size=2**30)
    await outbox_segments.delete(conn, segments)
    await conn.commit()


async def test_an_essay_writes_no_more_wal_than_before(engine: AsyncEngine) -> None:
    """Full page images after a checkpoint are not counted: their number is random."""
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
        f"{per_essay:.0f} bytes of WAL per essay: a transaction should update the essay's row once, add it to three "
        "indexes, and write and delete its part of one segment; if it costs less now, change the constant"
    )
