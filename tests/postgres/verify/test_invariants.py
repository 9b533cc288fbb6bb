"""Each invariant broken by hand, one at a time, where need be after its constraint is gone: verify names it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.settings import load_settings
from els_stream.verify.invariants import Finding
from els_stream.verify.runner import verify
from tests.support.batch_harness import BatchHarness
from tests.support.cli import els

CLASS = "class-9b"
INVARIANTS = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8"]

NO_CHECKS = """
    DO $$ DECLARE c record; BEGIN
        FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint
                 WHERE contype = 'c' AND conrelid IN ('batch_essay_trackers'::regclass, 'essay_states'::regclass,
                                                      'slot_assignments'::regclass) LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname);
        END LOOP;
        DROP INDEX uq_essay_states_text, uq_essay_states_upload, uq_event_outbox_position;
    END $$
"""


@pytest.fixture
async def court(engine: AsyncEngine, database: str) -> BatchHarness:
    """Batches in every state with everything there is, in a database that forbids nothing any more."""
    assert database
    harness = BatchHarness(engine=engine)
    await harness.together(harness.registration("open", essays=3, class_id=CLASS))
    await harness.together(harness.content(0, "open"))
    await harness.together(harness.failure(1, "open"))
    await harness.together(harness.registration("guests", essays=1))
    await harness.together(harness.content(0, "guests"), harness.content(1, "guests"))
    await harness.together(harness.registration("waiting", essays=1, class_id=CLASS))
    await harness.together(harness.content(0, "waiting"))
    await harness.together(harness.content(0, "early"), harness.content(1, "early"))
    await harness.together(harness.record("huleedu.file.essay.content.provisioned.v1", b"Dear Sir or Madam,"))
    await harness.execute(
        """
        INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset, updated_at)
        VALUES ('essay-lifecycle-service', 'huleedu.file.essay.content.provisioned.v1', 0, 1000,
                now() - interval '1 minute')
        """
    )
    await harness.execute(NO_CHECKS)
    return harness


async def findings(database: str) -> list[Finding]:
    settings = load_settings(broker_url="127.0.0.1:1", database_url=database)
    return [finding async for finding in verify(settings, kafka=False)]


async def violated(database: str) -> dict[str, Sequence[str]]:
    return {finding.invariant: finding.shown for finding in await findings(database) if finding.violated}


@pytest.mark.usefixtures("court")
async def test_a_school_where_all_is_well_violates_nothing_and_everything_was_counted(database: str) -> None:
    found = await findings(database)

    assert [finding.invariant for finding in found] == INVARIANTS
    assert [finding.violated for finding in found] == [0] * len(found)
    assert {finding.invariant: finding.checked for finding in found} == {
        "I1": 5,
        "I2": 4,
        "I3": 3,
        "I4": 13,
        "I5": 2,
        "I6": 2,
        "I7": 0,
        "I8": 7,
    }


BROKEN = [
    pytest.param(
        "I1",
        [
            "UPDATE essay_states SET failed_at = now() WHERE batch_id = 'guests'",
            "UPDATE batch_essay_trackers SET failed_count = 1 WHERE batch_id = 'guests'",
        ],
        ["slot guests/guests-essay-00000 holds a content and a failure"],
        id="two holders",
    ),
    pytest.param(
        "I1",
        ["UPDATE essay_states SET current_status = 'uploaded' WHERE batch_id = 'guests'"],
        ["slot guests/guests-essay-00000 is free and held at once"],
        id="free and held",
    ),
    pytest.param(
        "I1",
        ["INSERT INTO slot_assignments (batch_id, essay_id) VALUES ('guests', 'guests-essay-00000')"],
        ["slot guests/guests-essay-00000 differs between its two tables"],
        id="two tables",
    ),
    pytest.param(
        "I2",
        [
            """
            UPDATE essay_states SET current_status = 'ready_for_processing', text_storage_id = 'text-open-00000',
                   file_upload_id = 'another', filled_at = now()
            WHERE batch_id = 'open' AND current_status = 'uploaded'
            """,
            "UPDATE batch_essay_trackers SET free_count = 0, filled_count = 2 WHERE batch_id = 'open'",
            "UPDATE batch_essay_trackers SET state = 'content_complete' WHERE batch_id = 'open'",
        ],
        ["content text-open-00000 of batch open holds 2 slots"],
        id="a content twice",
    ),
    pytest.param(
        "I2",
        ["UPDATE essay_states SET file_upload_id = 'upload-open-00000' WHERE failed_at IS NOT NULL"],
        ["upload upload-open-00000 of batch open holds 2 slots"],
        id="an upload twice",
    ),
    pytest.param(
        "I3",
        ["UPDATE batch_essay_trackers SET free_count = 2, filled_count = 0 WHERE batch_id = 'open'"],
        ["batch open: counters say 2 free, 0 filled, 1 failed of 3; rows say 1, 1, 1 of 3"],
        id="counters",
    ),
    pytest.param(
        "I3",
        ["DELETE FROM essay_states WHERE batch_id = 'guests'"],
        ["batch guests: counters say 0 free, 1 filled, 0 failed of 1; rows say 0, 0, 0 of 0"],
        id="slots lost",
    ),
    pytest.param(
        "I3",
        ["UPDATE batch_essay_trackers SET state = 'completed', completed_at = now() WHERE batch_id = 'open'"],
        ["batch open is completed with 1 free slots"],
        id="complete with free slots",
    ),
    pytest.param(
        "I4",
        [
            """
            INSERT INTO event_outbox (order_key, event_id, shard, sequence, topic, headers)
            SELECT order_key, gen_random_uuid(), shard, 3, topic, headers FROM event_outbox
            WHERE order_key = 'waiting' AND topic LIKE '%completed%'
            """,
            "UPDATE batch_essay_trackers SET next_sequence = 9 WHERE batch_id = 'waiting'",
        ],
        ["batch waiting has 2 events of huleedu.batch.content.provisioning.completed.v1 in the outbox"],
        id="told twice",
    ),
    pytest.param(
        "I4",
        ["UPDATE batch_excess_content SET text_storage_id = 'text-guests-00000'"],
        ["content text-guests-00000 of batch guests is assigned and excess"],
        id="two fates of a content",
    ),
    pytest.param(
        "I4",
        ["UPDATE batch_excess_content SET file_upload_id = 'upload-guests-00000'"],
        ["upload upload-guests-00000 of batch guests holds a slot and is excess"],
        id="two fates of an upload",
    ),
    pytest.param(
        "I4",
        ["UPDATE batch_excess_content SET batch_id = 'open'"],
        ["batch open has excess content and 1 free slots"],
        id="excess beside free slots",
    ),
    pytest.param(
        "I4",
        ["UPDATE batch_essay_trackers SET associations_confirmed_at = now() WHERE batch_id = 'waiting'"],
        ["batch waiting is complete, confirmed, and not ready"],
        id="never ready",
    ),
    pytest.param(
        "I5",
        ["UPDATE dead_letters SET source_offset = 1000"],
        ["is not behind the ledger"],
        id="a dead letter from the future",
    ),
    pytest.param(
        "I5",
        ["UPDATE batch_pending_events SET source_offset = 1000 WHERE subject = 'upload-early-00000'"],
        ["parked upload-early-00000 of batch early, huleedu.file.essay.content.provisioned.v1/0 at 1000, is not"],
        id="parked from the future",
    ),
    pytest.param(
        "I6",
        [
            "UPDATE batch_pending_events SET batch_id = 'open'",
            "DELETE FROM batch_essay_trackers WHERE batch_id = 'early'",
        ],
        ["batch open is open and 2 events are parked for it"],
        id="forgotten",
    ),
    pytest.param(
        "I6",
        ["UPDATE batch_essay_trackers SET pending_count = 1 WHERE batch_id = 'early'"],
        ["batch early counts 1 parked events and has 2"],
        id="parked and not counted",
    ),
    pytest.param(
        "I6",
        ["INSERT INTO batch_essay_trackers (batch_id) VALUES ('nothing')"],
        ["batch nothing counts 0 parked events and has 0"],
        id="nothing waits",
    ),
    pytest.param(
        "I7",
        [
            """
            UPDATE batch_essay_trackers SET state = 'purged', purged_at = now(), user_id = NULL
            WHERE batch_id = 'guests'
            """,
            "DELETE FROM event_outbox WHERE order_key = 'guests'",
        ],
        ["purged batch guests still has rows"],
        id="essays of a purged batch",
    ),
    pytest.param(
        "I7",
        [
            """
            INSERT INTO batch_essay_trackers (batch_id, state, purged_at, user_id)
            VALUES ('gone', 'purged', now(), 'ms-frizzle')
            """
        ],
        ["purged batch gone still names its owner"],
        id="owner of a purged batch",
    ),
    pytest.param(
        "I8",
        ["UPDATE event_outbox SET sequence = 4 - sequence WHERE order_key = 'guests'"],
        ["outbox of guests: sequence 2 lies at or before 3", "outbox of guests: sequence 1 lies at or before 2"],
        id="out of order",
    ),
    pytest.param(
        "I8",
        ["UPDATE event_outbox SET sequence = 7 WHERE order_key = 'open'"],
        ["outbox of open: sequence 7 was never given out"],
        id="a number out of nowhere",
    ),
]


@pytest.mark.parametrize(("invariant", "deeds", "named"), BROKEN)
async def test_a_broken_invariant_is_named_with_its_ids(
    court: BatchHarness, database: str, invariant: str, deeds: Sequence[str], named: Sequence[str]
) -> None:
    for deed in deeds:
        await court.execute(deed)

    found = await violated(database)

    assert list(found) == [invariant]
    assert len(found[invariant]) == len(named)
    for violation in named:
        assert any(violation in shown for shown in found[invariant]), found


@pytest.fixture
def environment(database: str, tmp_path: Path) -> Mapping[str, str]:
    return {"ELS_BROKER_URL": "127.0.0.1:1", "ELS_DATABASE_URL": database, "ELS_STATE_DIR": str(tmp_path)}


@pytest.mark.usefixtures("court")
async def test_the_command_prints_a_line_for_each_and_ends_with_0(environment: Mapping[str, str]) -> None:
    ended = await els(environment, "verify")

    assert ended.exit_code == 0
    assert [line.split()[0] for line in ended.stdout.splitlines()] == INVARIANTS
    assert all(" holds " in line for line in ended.stdout.splitlines())


async def test_the_command_ends_with_1_on_any_violation_and_names_a_bounded_number(
    court: BatchHarness, environment: Mapping[str, str]
) -> None:
    await court.execute(
        "INSERT INTO batch_essay_trackers (batch_id) SELECT 'nothing-' || n FROM generate_series(1, 30) n"
    )

    ended = await els(environment, "verify")
    as_json = await els(environment, "verify", "--json")

    assert ended.exit_code == as_json.exit_code == 1
    assert "30 VIOLATED" in ended.stdout
    assert ended.stdout.count("- batch nothing-") == 20
    assert "- and 10 more" in ended.stdout
    (parked,) = [f for line in as_json.stdout.splitlines() if (f := json.loads(line))["invariant"] == "I6"]
    assert (parked["violated"], len(parked["shown"])) == (30, 20)


async def test_it_locks_nothing_and_waits_for_nobody(court: BatchHarness, database: str) -> None:
    """In the middle of another's work, it sees the last committed state."""
    async with court.engine.begin() as conn:
        await court.apply(conn, [court.content(5, "open")])

        assert await violated(database) == {}
