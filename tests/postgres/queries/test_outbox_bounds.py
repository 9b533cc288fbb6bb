"""A fetch skips the index entries of deleted segments, and no segment that may still come."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.config.settings import load_settings
from els_stream.embedded.servers import Addresses
from els_stream.queries import outbox_bounds, outbox_segments
from els_stream.queries.outbox import put
from els_stream.queries.outbox_bounds import OutboxBounds
from els_stream.queries.outbox_rows import SHARD_COUNT
from els_stream.queries.outbox_segments import Segment
from els_stream.relay.factory import create_relay_engine
from tests.support.outbox_rows import row
from tests.support.query_plans import work_of

SHARDS = range(SHARD_COUNT)
# A trigger of a row runs when its position is drawn, and before it is written.
REQUIRE_ID = """
    CREATE FUNCTION require_id() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        ASSERT pg_current_xact_id_if_assigned() IS NOT NULL, 'a position was drawn without a transaction id';
        RETURN NEW;
    END $$;
"""
REQUIRE_ID_OF_SEGMENTS = """
    CREATE TRIGGER require_id BEFORE INSERT ON outbox_segments FOR EACH ROW EXECUTE FUNCTION require_id()
"""
WRITE_AND_DELETE = """
    DO $$ BEGIN
        FOR n IN 1..2000 LOOP
            INSERT INTO outbox_segments (shard, events, size, payload) VALUES (n % 96, 1, 1, '\\x00');
            DELETE FROM outbox_segments;
            COMMIT;
        END LOOP;
    END $$
"""


@pytest.fixture(autouse=True)
def _marks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_bounds, "MARK_INTERVAL_SECONDS", 0.0)


@pytest.fixture
async def relay_engine(addresses: Addresses, database: str) -> AsyncIterator[AsyncEngine]:
    engine = create_relay_engine(load_settings(broker_url=addresses.broker, database_url=database))
    yield engine.execution_options(isolation_level="AUTOCOMMIT")
    await engine.dispose()


@pytest.fixture
async def relay(relay_engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """The session of a relay."""
    async with relay_engine.connect() as conn:
        yield conn


async def fetch(conn: AsyncConnection) -> list[Segment]:
    segments, _ = await outbox_segments.fetch(conn, SHARDS, events=1000, size=2**23)
    return segments


async def publish(relay: AsyncConnection) -> list[str]:
    """Fetch and delete what waits, as a relay does; return the keys."""
    segments = await fetch(relay)
    await outbox_segments.delete(relay, segments)
    return [one.order_key for segment in segments for one in segment.rows]


async def put_one(conn: AsyncConnection, key: str) -> None:
    await put(conn, [row(key, 1)])


def highest(relay: AsyncConnection) -> int:
    return max(OutboxBounds.of(relay)[shard] for shard in SHARDS)


async def test_bounds_rise_to_what_was_deleted(engine: AsyncEngine, relay: AsyncConnection) -> None:
    async with engine.begin() as conn:
        await put_one(conn, "first")
    [segment] = await fetch(relay)
    assert await publish(relay) == ["first"]
    assert OutboxBounds.of(relay)[segment.shard] == segment.position - 1, "the fetch found it"

    assert await publish(relay) == []
    assert {OutboxBounds.of(relay)[shard] for shard in SHARDS} == {segment.position}


async def test_a_segment_that_commits_late_is_found(engine: AsyncEngine, relay: AsyncConnection) -> None:
    async with engine.connect() as slow, engine.connect() as quick:
        await put_one(slow, "late")
        await put_one(quick, "early")
        await quick.commit()
        assert await publish(relay) == ["early"]
        for _ in range(3):
            assert await publish(relay) == []
        assert highest(relay) == 0

        await slow.commit()

    assert await publish(relay) == ["late"]
    await publish(relay)
    await publish(relay)
    assert highest(relay) > 0


async def test_a_position_is_drawn_with_a_transaction_id(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(text(REQUIRE_ID))
        await conn.execute(text(REQUIRE_ID_OF_SEGMENTS))

    # PostgreSQL logs every 32nd position, and assigns an id for that.
    for key in ("logged", "not logged"):
        async with engine.begin() as conn:
            await put_one(conn, key)


async def test_segments_are_found_after_the_sequence_was_set_back(engine: AsyncEngine, relay: AsyncConnection) -> None:
    for key in ("one", "two", "three"):
        async with engine.begin() as conn:
            await put_one(conn, key)
    await publish(relay)
    await publish(relay)
    await publish(relay)
    async with engine.begin() as conn:
        await conn.execute(text("ALTER TABLE outbox_segments ALTER COLUMN position RESTART"))
        await put_one(conn, "again")

    await fetch(relay)

    assert await publish(relay) == ["again"]


async def test_a_segment_that_is_restored_by_hand_is_found_later(
    engine: AsyncEngine, relay: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine.begin() as conn:
        await put_one(conn, "restored")
        await conn.execute(text("CREATE TABLE saved AS SELECT * FROM outbox_segments"))
    for _ in range(3):
        await publish(relay)
    async with engine.begin() as conn:
        await conn.execute(text("INSERT INTO outbox_segments OVERRIDING SYSTEM VALUE SELECT * FROM saved"))
    assert await publish(relay) == []
    monkeypatch.setattr(outbox_bounds, "GIVE_UP_INTERVAL_SECONDS", 0.0)
    await publish(relay)

    assert await publish(relay) == ["restored"]


async def test_a_role_without_the_right_to_read_the_sequence_fetches_from_the_start(
    engine: AsyncEngine, relay: AsyncConnection
) -> None:
    async with engine.begin() as conn:
        await put_one(conn, "first")
        await conn.execute(text("CREATE ROLE reader"))
        await conn.execute(text("GRANT SELECT, DELETE ON outbox_segments, event_outbox TO reader"))
    try:
        await relay.execute(text("SET ROLE reader"))
        assert await publish(relay) == ["first"]
        await publish(relay)
        await publish(relay)
        assert highest(relay) == 0
    finally:
        await relay.execute(text("RESET ROLE"))
        await relay.execute(text("DROP OWNED BY reader"))
        await relay.execute(text("DROP ROLE reader"))


async def test_a_long_snapshot_does_not_make_fetches_longer(engine: AsyncEngine, relay_engine: AsyncEngine) -> None:
    """One connection after the other: the pool has one session."""
    async with engine.connect() as report:
        await report.execution_options(isolation_level="REPEATABLE READ")
        await report.execute(text("SELECT count(*) FROM batch_essay_trackers"))
        before = await work_of(relay_engine, fetch)
        async with relay_engine.connect() as relay:
            await relay.execute(text(WRITE_AND_DELETE))
            await fetch(relay)
            await fetch(relay)

        after = await work_of(relay_engine, fetch)

    assert after.pages < before.pages + 100
