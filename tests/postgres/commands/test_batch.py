"""`els batch` on a real database: text for people, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from els_stream.events import topics
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness
from tests.support.cli import els

CLASS = "class-9b"


@pytest.fixture
def environment(database: str, tmp_path: Path) -> Mapping[str, str]:
    return {"ELS_BROKER_URL": "127.0.0.1:1", "ELS_DATABASE_URL": database, "ELS_STATE_DIR": str(tmp_path)}


async def read_batch(environment: Mapping[str, str], batch_id: str = make.BATCH) -> tuple[int, dict[str, Any]]:
    result = await els(environment, "batch", batch_id, "--json")
    return result.exit_code, json.loads(result.stdout)


async def test_an_unknown_batch_exits_with_3(environment: Mapping[str, str]) -> None:
    result = await els(environment, "batch", "unknown\x1b[2J")

    assert (result.exit_code, result.stdout) == (3, "")
    assert "\x1b" not in result.stderr


async def test_an_unreachable_database_exits_with_1_not_3(environment: Mapping[str, str]) -> None:
    result = await els({**environment, "ELS_DATABASE_URL": "postgresql://ada:s3cr3t@127.0.0.1:1/e"}, "batch", "x")

    assert result.exit_code == 1
    assert "s3cr3t" not in result.output


async def test_a_batch_waits_for_one_thing_after_the_other(
    environment: Mapping[str, str], harness: BatchHarness
) -> None:
    waits = []

    async def read() -> None:
        code, detail = await read_batch(environment)
        waits.append((code, detail["waits_for"]))

    await harness.together(harness.content(0))
    await read()
    await harness.together(harness.registration(essays=2, class_id=CLASS))
    await read()
    await harness.together(harness.failure(1))
    await read()
    await harness.together(harness.associations(2))
    await read()
    async with harness.all_sent():
        await read()

    assert waits == [(0, "registration"), (0, "content"), (0, "associations"), (0, "relay"), (0, "nothing")]


async def test_it_shows_slots_and_events_with_their_delivery(
    environment: Mapping[str, str], harness: BatchHarness
) -> None:
    await harness.together(harness.registration(essays=2, class_id=CLASS))
    await harness.together(harness.content(0))
    await harness.together(harness.failure(1))
    await harness.together(harness.content(2))
    await harness.together(harness.associations(["a-stranger"]))
    assigned, *_ = rows = await harness.outbox_events(make.BATCH)
    await harness.move_aside()
    async with harness.all_sent():
        await harness.execute(
            """
            INSERT INTO event_outbox OVERRIDING SYSTEM VALUE
            SELECT * FROM sent WHERE order_key = :batch AND sequence > 1
            """,
            batch=make.BATCH,
        )
        await harness.execute(
            "UPDATE event_outbox SET next_attempt_at = now(), attempts = 3, last_error = 'too large' WHERE sequence = 4"
        )
        code, detail = await read_batch(environment)
        shown = await els(environment, "batch", make.BATCH)
        await harness.empty_outbox()

    assert [detail[name] for name in ("expected", "filled", "failed", "free", "class_type")] == [2, 1, 1, 0, "REGULAR"]
    events = [(event["topic"], event["delivery"]) for event in detail["events"]]
    assert events == [
        (topics.SLOT_ASSIGNED, "published"),
        (topics.VALIDATION_ERRORS, "waiting"),
        (topics.PROVISIONING_COMPLETED, "waiting"),
        (topics.EXCESS_CONTENT, "deferred"),
    ]
    assert [event["event_id"] for event in detail["events"]] == [row.event_id for row in rows]
    assert detail["events"][0]["event_id"] == assigned.event_id
    assert [dead_letter["reason"] for dead_letter in detail["dead_letters"]] == ["unknown_essay"]
    assert (code, detail["stuck"], shown.exit_code) == (4, True, 4)
    assert "deferred: 3 attempts, too large" in shown.stdout
    assert "unknown_essay" in shown.stdout


async def test_pending_events_are_counted_by_kind(environment: Mapping[str, str], harness: BatchHarness) -> None:
    await harness.one_by_one(harness.content(0), harness.content(1), harness.failure(2), harness.associations(3))

    code, detail = await read_batch(environment)

    assert {kind["kind"]: kind["events"] for kind in detail["pending"]} == {
        "content_provisioned": 2,
        "validation_failed": 1,
        "associations_confirmed": 1,
    }
    assert code == 0
    assert "4 pending" in (await els(environment, "batch", make.BATCH)).stdout


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE batch_essay_trackers SET deadline_at = now() - interval '1 hour'",
        "UPDATE outbox_segments SET created_at = now() - interval '2 minutes'",
        "UPDATE event_outbox SET next_attempt_at = now() + interval '1 minute'",
    ],
)
async def test_a_stuck_batch_exits_with_4(environment: Mapping[str, str], harness: BatchHarness, damage: str) -> None:
    await harness.together(harness.registration(essays=2))
    await harness.together(harness.content(0))
    if "event_outbox" in damage:
        await harness.move_aside()
    assert (await read_batch(environment))[0] == 0
    assert ": open, waits for content, deadline 2" in (await els(environment, "batch", make.BATCH)).stdout

    await harness.execute(damage)

    code, detail = await read_batch(environment)
    assert (code, detail["stuck"]) == (4, True)
    result = await els(environment, "batch", make.BATCH)
    assert result.exit_code == 4
    assert "(stuck)" in result.stdout


async def test_names_of_others_are_escaped_on_the_terminal(
    environment: Mapping[str, str], harness: BatchHarness
) -> None:
    batch = "batch\x1b]0;owned\x07"
    await harness.together(harness.registration(batch, essays=["\x1b[2Jessay"]))
    await harness.together(harness.content(0, batch, text_storage_id="\u202etext"))

    shown = (await els(environment, "batch", batch)).stdout

    assert {c for c in shown if not c.isprintable()} == {"\n"}
    assert r"\x1b[2Jessay filled with \u202etext" in shown
