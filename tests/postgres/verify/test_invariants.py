"""`els verify` names each invariant that is broken by hand, if necessary after its constraint was removed."""

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
INVARIANTS = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "counters"]

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
async def populated_database(engine: AsyncEngine, database: str) -> BatchHarness:
    """Batches in every state, with rows in every table, in a database without its constraints."""
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
    return {finding.invariant: finding.examples for finding in await findings(database) if finding.violated}


@pytest.mark.usefixtures("populated_database")
async def test_a_correct_database_has_no_violation_and_all_rows_are_checked(database: str) -> None:
    found = await findings(database)

    assert [finding.invariant for finding in found] == INVARIANTS
    assert [finding.violated for finding in found] == [0] * len(found)
    assert [finding.checked for finding in found] == [5, 4, 3, 13, 2, 2, 0, 7, 6]


BROKEN = [
    pytest.param(
        "I1",
        [
            "UPDATE essay_states SET failed_at = now() WHERE batch_id = 'guests'",
            "UPDATE batch_essay_trackers SET failed_count = 1 WHERE batch_id = 'guests'",
        ],
        ["slot guests/guests-essay-00000 has a content and a failure"],
        id="two contents of a slot",
    ),
    pytest.param(
        "I1",
        ["UPDATE essay_states SET current_status = 'uploaded' WHERE batch_id = 'guests'"],
        ["slot guests/guests-essay-00000 is free and taken at once"],
        id="free and taken",
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
        ["content text-open-00000 of batch open has 2 slots"],
        id="a content twice",
    ),
    pytest.param(
        "I2",
        [
            "UPDATE essay_states SET file_upload_id = 'upload-open-00000' WHERE failed_at IS NOT NULL",
            "UPDATE batch_validation_failures SET file_upload_id = 'upload-open-00000' WHERE batch_id = 'open'",
        ],
        ["upload upload-open-00000 of batch open has 2 slots"],
        id="an upload twice",
    ),
    pytest.param(
        "I3",
        ["UPDATE batch_essay_trackers SET free_count = 2, filled_count = 0 WHERE batch_id = 'open'"],
        ["batch open: counters show 2 free, 0 filled, 1 failed of 3; rows show 1, 1, 1 of 3"],
        id="counters",
    ),
    pytest.param(
        "I3",
        ["DELETE FROM essay_states WHERE batch_id = 'guests'"],
        ["batch guests: counters show 0 free, 1 filled, 0 failed of 1; rows show 0, 0, 0 of 0"],
        id="slots lost",
    ),
    pytest.param(
        "I3",
        ["UPDATE batch_essay_trackers SET state = 'completed', completed_at = now() WHERE batch_id = 'open'"],
        ["batch open is completed with 1 free slots"],
        id="complete with free slots",
    ),
    pytest.param(
        "I3",
        ["DELETE FROM batch_validation_failures WHERE batch_id = 'open'"],
        ["slot open/open-essay-00001 failed, and the failure of upload upload-open-00001 is missing"],
        id="failure lost",
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
        id="published twice",
    ),
    pytest.param(
        "I4",
        ["UPDATE batch_excess_content SET text_storage_id = 'text-guests-00000'"],
        ["content text-guests-00000 of batch guests is assigned and excess"],
        id="two outcomes of a content",
    ),
    pytest.param(
        "I4",
        ["UPDATE batch_excess_content SET file_upload_id = 'upload-guests-00000'"],
        ["upload upload-guests-00000 of batch guests has a slot and is excess"],
        id="two outcomes of an upload",
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
        ["batch waiting is complete and confirmed, but not ready"],
        id="never ready",
    ),
    pytest.param(
        "I5",
        ["UPDATE dead_letters SET source_offset = 1000"],
        ["is not before the stored offset"],
        id="a dead letter from the future",
    ),
    pytest.param(
        "I5",
        ["UPDATE batch_pending_events SET source_offset = 1000 WHERE subject = 'upload-early-00000'"],
        ["pending upload-early-00000 of batch early, huleedu.file.essay.content.provisioned.v1/0 at 1000, is not"],
        id="a pending event from the future",
    ),
    pytest.param(
        "I6",
        [
            "UPDATE batch_pending_events SET batch_id = 'open'",
            "DELETE FROM batch_essay_trackers WHERE batch_id = 'early'",
        ],
        ["batch open is open and has 2 pending events"],
        id="pending after registration",
    ),
    pytest.param(
        "I6",
        ["UPDATE batch_essay_trackers SET pending_count = 1 WHERE batch_id = 'early'"],
        ["batch early counts 1 pending events and has 2"],
        id="pending and not counted",
    ),
    pytest.param(
        "I6",
        ["INSERT INTO batch_essay_trackers (batch_id) VALUES ('nothing')"],
        ["batch nothing counts 0 pending events and has 0"],
        id="nothing pending",
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
        ["purged batch gone still has its owner"],
        id="owner of a purged batch",
    ),
    pytest.param(
        "I8",
        ["UPDATE event_outbox SET sequence = 4 - sequence WHERE order_key = 'guests'"],
        ["outbox of guests: sequence 2 comes after 3", "outbox of guests: sequence 1 comes after 2"],
        id="out of order",
    ),
    pytest.param(
        "I8",
        ["UPDATE event_outbox SET sequence = 7 WHERE order_key = 'open'"],
        ["outbox of open: sequence 7 was never assigned"],
        id="an unknown sequence",
    ),
    pytest.param(
        "I8",
        [
            """
            INSERT INTO outbox_segments (shard, events, size, payload)
            SELECT (s.shard + 1) % 64, s.events, s.size, s.payload
            FROM outbox_segments s JOIN batch_essay_trackers t ON t.outbox_position = s.position
            WHERE t.batch_id = 'open'
            """
        ],
        [
            "outbox of open: sequence 1 comes after 1",
            "outbox of open: segments of 2 shards",
            "outbox of open: its tracker does not have its last segment",
        ],
        id="segments of two shards",
    ),
    pytest.param(
        "counters",
        ["ALTER TABLE dead_letters ALTER COLUMN id RESTART"],
        ["dead_letters.id: the next value is 1, the table has 1; run `els migrate`"],
        id="a counter that went back",
    ),
]


@pytest.mark.parametrize(("invariant", "damages", "expected"), BROKEN)
async def test_a_broken_invariant_is_named_with_its_ids(
    populated_database: BatchHarness, database: str, invariant: str, damages: Sequence[str], expected: Sequence[str]
) -> None:
    if any("event_outbox" in damage for damage in damages):
        await populated_database.move_aside()
    for damage in damages:
        await populated_database.execute(damage)

    found = await violated(database)

    assert list(found) == [invariant]
    assert len(found[invariant]) == len(expected)
    for violation in expected:
        assert any(violation in example for example in found[invariant]), found


@pytest.fixture
def environment(database: str, tmp_path: Path) -> Mapping[str, str]:
    return {"ELS_BROKER_URL": "127.0.0.1:1", "ELS_DATABASE_URL": database, "ELS_STATE_DIR": str(tmp_path)}


@pytest.mark.usefixtures("populated_database")
async def test_the_command_prints_one_line_per_invariant_and_exits_with_0(environment: Mapping[str, str]) -> None:
    result = await els(environment, "verify")

    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == INVARIANTS
    assert all(" ok " in line for line in result.stdout.splitlines())


async def test_the_command_exits_with_1_and_names_a_limited_number_of_violations(
    populated_database: BatchHarness, environment: Mapping[str, str]
) -> None:
    await populated_database.execute(
        "INSERT INTO batch_essay_trackers (batch_id) SELECT 'nothing-' || n FROM generate_series(1, 30) n"
    )

    result = await els(environment, "verify")
    as_json = await els(environment, "verify", "--json")

    assert result.exit_code == as_json.exit_code == 1
    assert "30 VIOLATED" in result.stdout
    assert result.stdout.count("- batch nothing-") == 20
    assert "- and 10 more" in result.stdout
    (pending,) = [f for line in as_json.stdout.splitlines() if (f := json.loads(line))["invariant"] == "I6"]
    assert (pending["violated"], len(pending["examples"])) == (30, 20)


async def test_it_does_not_wait_for_an_open_transaction(populated_database: BatchHarness, database: str) -> None:
    """It reads the last committed state."""
    async with populated_database.engine.begin() as conn:
        await populated_database.apply(conn, [populated_database.content(5, "open")])

        assert await violated(database) == {}
