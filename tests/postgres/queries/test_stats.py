from __future__ import annotations

from typing import Final
from uuid import uuid4

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.queries import outbox_backlog, purge
from els_stream.queries.batch_counts import compact
from els_stream.queries.outbox_rows import SHARD_COUNT
from els_stream.queries.stats import ACTIVE, CLASS_TYPES, PENDING_KINDS, PurgeStats, Stats, read_stats
from tables import batch_essay_trackers, batch_pending_events, dead_letters, purge_log

EMPTY: Final = {"GUEST": 0, "REGULAR": 0}


async def read(engine: AsyncEngine) -> Stats:
    async with engine.connect() as conn:
        return await read_stats(conn)


async def add_batches(conn: AsyncConnection, count: int, class_type: str, state: str) -> None:
    await conn.execute(
        text("""
            INSERT INTO batch_essay_trackers (
                batch_id, state, class_type, inventory, registration_digest, course_code, user_id, correlation_id,
                expected_count, free_count, filled_count,
                deadline_at, registered_at, content_completed_at, completed_at, purged_at
            )
            SELECT concat_ws('-', CAST(:class_type AS text), CAST(:state AS text), i), :state, :class_type,
                   'essay_states', 'digest', 'ENG6', 'ms-frizzle', gen_random_uuid(),
                   1, CASE WHEN :state = 'open' THEN 1 ELSE 0 END, CASE WHEN :state = 'open' THEN 0 ELSE 1 END,
                   now(), now(), CASE WHEN :state <> 'open' THEN now() END,
                   CASE WHEN :state IN ('completed', 'purged') THEN now() END,
                   CASE WHEN :state = 'purged' THEN now() END
            FROM generate_series(1, :count) AS i
        """),
        {"count": count, "class_type": class_type, "state": state},
    )


async def add_outbox_row(conn: AsyncConnection, shard: int, age_seconds: int, *, deferred: bool = False) -> None:
    await conn.execute(
        text("""
            INSERT INTO event_outbox (order_key, event_id, shard, sequence, topic, headers, created_at, next_attempt_at)
            VALUES (CAST(:id AS text), CAST(:id AS uuid), :shard, 1, 'topic', '[]',
                    now() - make_interval(secs => :age), CASE WHEN :deferred THEN now() END)
        """),
        {"id": str(uuid4()), "shard": shard, "age": age_seconds, "deferred": deferred},
    )


async def test_an_empty_database_counts_zero_of_everything(engine: AsyncEngine) -> None:
    stats = await read(engine)

    assert stats.active == stats.completed == stats.purged == EMPTY
    assert stats.pending == dict.fromkeys(PENDING_KINDS, 0)
    assert set(stats.dead_letters.values()) == {0}
    assert (stats.outbox_rows, stats.outbox_deferred) == (0, 0)
    assert (stats.outbox_oldest_seconds, stats.pending_oldest_seconds) == (0, 0)


async def test_batches_are_active_from_registration_to_completion(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await add_batches(conn, 2, "GUEST", "open")
        await add_batches(conn, 3, "REGULAR", "open")
        await add_batches(conn, 4, "REGULAR", "content_complete")
        await add_batches(conn, 5, "GUEST", "completed")
        await add_batches(conn, 6, "GUEST", "purged")
        await conn.execute(insert(batch_essay_trackers).values(batch_id="content came first"))

    stats = await read(engine)

    assert stats.active == {"GUEST": 2, "REGULAR": 7}
    assert stats.completed == {"GUEST": 5, "REGULAR": 0}


async def test_purged_batches_are_counted_from_the_log(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as conn:
        for action, class_type, batches in (
            ("purge", "GUEST", 30),
            ("purge_abandoned", "GUEST", 2),
            ("erase_batch", "REGULAR", 1),
            ("erase_student", "REGULAR", 9),
        ):
            await conn.execute(
                insert(purge_log).values(action=action, class_type=class_type, batches=batches, removed={})
            )

    assert (await read(engine)).purged == {"GUEST": 32, "REGULAR": 1}


async def test_the_outbox_is_as_old_as_its_oldest_row_in_any_shard(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await add_outbox_row(conn, 0, 10)
        await add_outbox_row(conn, 0, 5)
        await add_outbox_row(conn, SHARD_COUNT - 1, 90, deferred=True)

    stats = await read(engine)

    assert (stats.outbox_rows, stats.outbox_deferred) == (3, 1)
    assert stats.outbox_oldest_seconds == pytest.approx(90, abs=5)


async def test_pending_events_are_counted_by_kind_with_the_age_of_the_oldest(engine: AsyncEngine) -> None:
    source = {"source_topic": "t", "source_partition": 0, "source_offset": 0, "source_timestamp": 0}
    async with engine.begin() as conn:
        await conn.execute(insert(batch_essay_trackers).values(batch_id="b", pending_count=3))
        for subject, kind in enumerate(("content_provisioned", "content_provisioned", "validation_failed")):
            await conn.execute(
                insert(batch_pending_events).values(
                    batch_id="b", kind=kind, subject=str(subject), value=b"{}", headers=b"[]", **source
                )
            )
        await conn.execute(
            text("UPDATE batch_pending_events SET pending_since = now() - interval '1 h' WHERE subject = '1'")
        )

    stats = await read(engine)

    assert stats.pending == {"content_provisioned": 2, "validation_failed": 1, "associations_confirmed": 0}
    assert stats.pending_oldest_seconds == pytest.approx(3600, abs=5)


async def test_only_open_dead_letters_are_counted_by_reason(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        for offset, (reason, state) in enumerate(
            (("not_json", "open"), ("not_json", "open"), ("too_deep", "discarded"))
        ):
            await conn.execute(
                insert(dead_letters).values(
                    reason=reason,
                    message="",
                    source_topic="t",
                    source_partition=0,
                    source_offset=offset,
                    source_timestamp=0,
                    value_size=0,
                    value_sha256=b"",
                    headers=b"[]",
                    state=state,
                    resolved_at=None if state == "open" else text("now()"),
                )
            )

    stats = await read(engine)

    assert (stats.dead_letters["not_json"], stats.dead_letters["too_deep"]) == (2, 0)


async def test_counting_active_batches_is_an_index_only_scan(
    engine: AsyncEngine,
) -> None:
    """Many wide rows: a sequential scan of them would slow down the workers' claims."""
    async with engine.begin() as conn:
        await add_batches(conn, 20_000, "GUEST", "completed")
        await add_batches(conn, 500, "GUEST", "open")
    async with engine.connect() as conn:
        await (await conn.execution_options(isolation_level="AUTOCOMMIT")).execute(
            text("VACUUM ANALYZE batch_essay_trackers")
        )
        plan = "\n".join(
            await conn.scalars(
                text(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {ACTIVE.text}"), {"class_types": CLASS_TYPES}
            )
        )

    assert "Index Only Scan using ix_batch_essay_trackers_class_type_state" in plan
    assert "rows=500.00" in plan, plan
    assert "Heap Fetches: 0" in plan, plan


async def test_compaction_does_not_change_the_count_of_completed_batches(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await add_batches(conn, 150, "GUEST", "completed")
        await add_batches(conn, 7, "REGULAR", "completed")
    before = (await read(engine)).completed

    async with engine.begin() as conn:
        await compact(conn)
        rows = await conn.scalar(text("SELECT count(*) FROM batch_counts"))

    assert before == (await read(engine)).completed == {"GUEST": 150, "REGULAR": 7}
    assert rows == 2


async def test_a_change_that_commits_during_a_compaction_counts_once(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await add_batches(conn, 150, "GUEST", "completed")
    async with engine.connect() as late, engine.connect() as folding:
        await add_batches(late, 1, "REGULAR", "completed")
        await compact(folding)
        await late.commit()
        await folding.commit()

    async with engine.begin() as conn:
        await compact(conn)

    assert (await read(engine)).completed == {"GUEST": 150, "REGULAR": 1}


async def test_a_completed_batch_counts_until_it_is_purged_or_deleted(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await add_batches(conn, 3, "GUEST", "completed")
        await conn.execute(text("DELETE FROM batch_essay_trackers WHERE batch_id = 'GUEST-completed-1'"))
        await conn.execute(
            text("UPDATE batch_essay_trackers SET state = 'purged', purged_at = now() WHERE batch_id LIKE '%2'")
        )

    assert (await read(engine)).completed == {"GUEST": 1, "REGULAR": 0}


async def test_a_rollback_counts_nothing(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await add_batches(conn, 3, "GUEST", "completed")
        await conn.rollback()

    assert (await read(engine)).completed == EMPTY


async def test_a_running_purge_is_visible_in_every_process(engine: AsyncEngine) -> None:
    assert (await read(engine)).purge == PurgeStats(running=False, batches=None, started_at=None, finished=False)
    async with engine.begin() as conn:
        await conn.execute(insert(purge_log).values(action="purge", class_type="GUEST", batches=4, removed={}))

    async with engine.connect() as purging:
        assert await purge.try_lock(purging)
        at_work = (await read(engine)).purge
        await purge.unlock(purging)

    assert (at_work.running, at_work.batches, at_work.finished) == (True, 4, False)
    assert not (await read(engine)).purge.running


async def test_the_age_of_the_outbox_costs_one_row_for_each_shard(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(
            text("""
                INSERT INTO event_outbox (order_key, event_id, shard, sequence, topic, headers)
                SELECT i, gen_random_uuid(), i % 64, i, 'topic', '[]' FROM generate_series(1, 20000) AS i
            """)
        )
    async with engine.connect() as conn:
        await (await conn.execution_options(isolation_level="AUTOCOMMIT")).execute(text("VACUUM ANALYZE event_outbox"))
        asked = {"limit": 100, "last_shard": SHARD_COUNT - 1}
        plan = "\n".join(
            await conn.scalars(
                text(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {outbox_backlog._READ_BACKLOG.text}"), asked
            )
        )

    assert "Index Scan using uq_event_outbox_position" in plan
    assert "Seq Scan on event_outbox" not in plan, plan
