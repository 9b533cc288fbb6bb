"""`els batch`: the answer to "why is batch X waiting?", for people and for scripts."""

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


async def told(environment: Mapping[str, str], batch_id: str = make.BATCH) -> tuple[int, dict[str, Any]]:
    ended = await els(environment, "batch", batch_id, "--json")
    return ended.exit_code, json.loads(ended.stdout)


async def test_a_batch_of_which_nothing_came_ends_with_3(environment: Mapping[str, str]) -> None:
    ended = await els(environment, "batch", "nobody-knows\x1b[2J")

    assert (ended.exit_code, ended.stdout) == (3, "")
    assert "\x1b" not in ended.stderr


async def test_a_database_that_is_away_is_not_a_batch_that_is_not_there(environment: Mapping[str, str]) -> None:
    ended = await els({**environment, "ELS_DATABASE_URL": "postgresql://ada:s3cr3t@127.0.0.1:1/e"}, "batch", "x")

    assert ended.exit_code == 1
    assert "s3cr3t" not in ended.output


async def test_it_says_what_a_batch_waits_for_from_its_first_content_to_its_end(
    environment: Mapping[str, str], harness: BatchHarness
) -> None:
    waits = []

    async def look() -> None:
        code, story = await told(environment)
        waits.append((code, story["waits_for"]))

    await harness.together(harness.content(0))
    await look()
    await harness.together(harness.registration(essays=2, class_id=CLASS))
    await look()
    await harness.together(harness.failure(1))
    await look()
    await harness.together(harness.associations(2))
    await look()
    async with harness.all_sent():
        await look()

    assert waits == [(0, "registration"), (0, "content"), (0, "associations"), (0, "relay"), (0, "nothing")]


async def test_it_counts_slots_and_tells_events_in_order_with_their_state(
    environment: Mapping[str, str], harness: BatchHarness
) -> None:
    await harness.together(harness.registration(essays=2, class_id=CLASS))
    await harness.together(harness.content(0))
    await harness.together(harness.failure(1))
    await harness.together(harness.content(2))
    await harness.together(harness.associations(["a-stranger"]))
    assigned, *_ = rows = await harness.outbox_events(make.BATCH)
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
        code, story = await told(environment)
        shown = await els(environment, "batch", make.BATCH)
        await harness.execute("DELETE FROM event_outbox")

    assert [story[name] for name in ("expected", "filled", "failed", "free", "class_type")] == [2, 1, 1, 0, "REGULAR"]
    events = [(event["topic"], event["delivery"]) for event in story["events"]]
    assert events == [
        (topics.SLOT_ASSIGNED, "published"),
        (topics.VALIDATION_ERRORS, "waiting"),
        (topics.PROVISIONING_COMPLETED, "waiting"),
        (topics.EXCESS_CONTENT, "deferred"),
    ]
    assert [event["event_id"] for event in story["events"]] == [row.event_id for row in rows]
    assert story["events"][0]["event_id"] == assigned.event_id
    assert [letter["reason"] for letter in story["dead_letters"]] == ["unknown_essay"]
    assert (code, story["stuck"], shown.exit_code) == (4, True, 4)
    assert "deferred: 3 tries, too large" in shown.stdout
    assert "unknown_essay" in shown.stdout


async def test_parked_events_are_told_by_kind(environment: Mapping[str, str], harness: BatchHarness) -> None:
    await harness.one_by_one(harness.content(0), harness.content(1), harness.failure(2), harness.associations(3))

    code, story = await told(environment)

    assert {kind["kind"]: kind["events"] for kind in story["pending"]} == {
        "content_provisioned": 2,
        "validation_failed": 1,
        "associations_confirmed": 1,
    }
    assert code == 0
    assert "4 parked" in (await els(environment, "batch", make.BATCH)).stdout


@pytest.mark.parametrize(
    "trouble",
    [
        "UPDATE batch_essay_trackers SET deadline_at = now() - interval '1 hour'",
        "UPDATE event_outbox SET created_at = now() - interval '2 minutes'",
        "UPDATE event_outbox SET next_attempt_at = now() + interval '1 minute'",
    ],
)
async def test_a_batch_that_someone_should_look_at_ends_with_4(
    environment: Mapping[str, str], harness: BatchHarness, trouble: str
) -> None:
    await harness.together(harness.registration(essays=2))
    await harness.together(harness.content(0))
    assert (await told(environment))[0] == 0

    await harness.execute(trouble)

    code, story = await told(environment)
    assert (code, story["stuck"]) == (4, True)
    ended = await els(environment, "batch", make.BATCH)
    assert ended.exit_code == 4
    assert "(stuck)" in ended.stdout


async def test_nothing_that_others_named_reaches_the_terminal_raw(
    environment: Mapping[str, str], harness: BatchHarness
) -> None:
    batch = "batch\x1b]0;owned\x07"
    await harness.together(harness.registration(batch, essays=["\x1b[2Jessay"]))
    await harness.together(harness.content(0, batch, text_storage_id="\u202etext"))

    shown = (await els(environment, "batch", batch)).stdout

    assert {c for c in shown if not c.isprintable()} == {"\n"}
    assert r"\x1b[2Jessay holds \u202etext" in shown
