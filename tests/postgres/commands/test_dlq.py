"""`els dlq` as a person and a script meet it, on a real database."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from els_stream.events import topics
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness
from tests.support.cli import els

HOSTILE = b'{"title": "\x1b[2J\x1b]0;owned\x07 \xe2\x80\xae\xff"}'


@pytest.fixture
def environment(database: str, tmp_path: Path) -> Mapping[str, str]:
    return {
        "ELS_BROKER_URL": "127.0.0.1:1",
        "ELS_DATABASE_URL": database,
        "ELS_STATE_DIR": str(tmp_path),
        "ELS_RETRY_INITIAL_SECONDS": "0.01",
    }


@pytest.fixture
async def letters(harness: BatchHarness) -> list[int]:
    """Three unreadable ones and one whose batch is of another class."""
    await harness.together(*(harness.record(topics.CONTENT_PROVISIONED, b"Dear %d," % n) for n in range(3)))
    await harness.together(harness.registration(essays=1, class_id="class-8a"))
    await harness.together(harness.associations(1))
    return [row.id for row in await harness.rows("SELECT id FROM dead_letters ORDER BY id")]


async def listed(environment: Mapping[str, str], *arguments: str) -> list[int]:
    printed = await els(environment, "dlq", "list", "--json", *arguments)
    assert printed.exit_code == 0, printed.output
    return [json.loads(line)["id"] for line in printed.stdout.splitlines()]


async def test_letters_are_listed_newest_first_page_by_page(environment: Mapping[str, str], letters: list[int]) -> None:
    assert await listed(environment) == letters[::-1]

    first = await els(environment, "dlq", "list", "--limit", "3")

    assert f"--before {letters[1]}" in first.stderr
    assert await listed(environment, "--limit", "3", "--before", str(letters[1])) == letters[:1]


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (["--reason", "class_mismatch"], [3]),
        (["--topic", topics.CONTENT_PROVISIONED], [2, 1, 0]),
        (["--batch", make.BATCH], [3]),
        (["--older-than", "1h"], []),
        (["--younger-than", "1h", "--reason", "not_json"], [2, 1, 0]),
        (["--state", "discarded"], []),
        (["--state", "all"], [3, 2, 1, 0]),
    ],
)
async def test_letters_are_chosen_by_reason_topic_batch_age_and_state(
    environment: Mapping[str, str], letters: list[int], chosen: list[str], found: list[int]
) -> None:
    assert await listed(environment, *chosen) == [letters[index] for index in found]


async def test_the_table_names_place_reason_and_batch(environment: Mapping[str, str], letters: list[int]) -> None:
    printed = (await els(environment, "dlq", "list")).stdout

    assert make.BATCH in printed
    assert "not_json" in printed
    assert len(printed.splitlines()) == len(letters) + 1


async def test_show_prints_the_record_and_no_byte_of_it_reaches_the_terminal_raw(
    environment: Mapping[str, str], harness: BatchHarness
) -> None:
    record = make.record(topics.CONTENT_PROVISIONED, HOSTILE, key=b"\x1b[1m", headers=(("x\x1b", b"\x9b\n"),))
    await harness.together(record)
    (letter,) = await listed(environment)

    printed = (await els(environment, "dlq", "show", str(letter))).stdout

    assert r'{"title": "\x1b[2J\x1b]0;owned\x07 \u202e\xff"}' in printed
    assert {c for c in printed if not c.isprintable()} == {"\n"}
    whole = json.loads((await els(environment, "dlq", "show", str(letter), "--json")).stdout)
    assert base64.b64decode(whole["value"]) == HOSTILE
    assert base64.b64decode(whole["headers"][0][1]) == b"\x9b\n"


async def test_a_letter_that_is_not_there_ends_with_3(environment: Mapping[str, str], letters: list[int]) -> None:
    ended = await els(environment, "dlq", "show", str(letters[-1] + 1))

    assert (ended.exit_code, ended.stdout) == (3, "")


async def test_replay_of_many_says_what_became_of_each_and_meets_no_letter_twice(
    environment: Mapping[str, str], harness: BatchHarness, letters: list[int]
) -> None:
    await harness.execute("UPDATE batch_essay_trackers SET class_id = 'class-9b'")

    ended = await els(environment, "dlq", "replay", "--all")

    assert ended.exit_code == 1
    assert ended.stdout.splitlines()[-1] == "4 dead letters: associations_confirmed 1, failed again 3"
    rows = await harness.rows("SELECT state, count(*) FROM dead_letters GROUP BY state ORDER BY state")
    assert [tuple(row) for row in rows] == [("open", 3), ("replayed", 4)]
    assert len(letters) == 4


async def test_replay_of_one_ends_with_0_and_tells_scripts_what_became_of_it(
    environment: Mapping[str, str], harness: BatchHarness, letters: list[int]
) -> None:
    await harness.execute("UPDATE batch_essay_trackers SET class_id = 'class-9b'")

    ended = await els(environment, "dlq", "replay", str(letters[3]), "--json")

    assert ended.exit_code == 0
    assert json.loads(ended.stdout) == {"id": letters[3], "outcome": "associations_confirmed", "message": ""}


async def test_a_replay_that_the_database_refuses_leaves_a_letter_that_says_so(
    environment: Mapping[str, str], harness: BatchHarness, letters: list[int]
) -> None:
    await harness.execute("UPDATE batch_essay_trackers SET class_id = 'class-9b'")
    await harness.execute("ALTER TABLE essay_states ADD CHECK (student_id <> 'student-pippi')")

    ended = await els(environment, "dlq", "replay", str(letters[3]))

    assert ended.exit_code == 1
    assert f"{letters[3]}: failed again: database_refused: its replay failed: 23514" in ended.stdout


@pytest.mark.parametrize("command", ["replay", "drop"])
async def test_nothing_is_replayed_or_dropped_that_was_not_chosen(
    environment: Mapping[str, str], letters: list[int], command: str
) -> None:
    assert (await els(environment, "dlq", command)).exit_code == 2
    assert (await els(environment, "dlq", command, str(letters[0]), "--all")).exit_code == 2
    assert (await els(environment, "dlq", command, "--older-than", "a while")).exit_code == 2
    assert await listed(environment) == letters[::-1]


async def test_drop_asks_for_yes_and_says_how_many(
    environment: Mapping[str, str], harness: BatchHarness, letters: list[int]
) -> None:
    asked = await els(environment, "dlq", "drop", "--reason", "not_json")
    assert (asked.exit_code, asked.stdout) == (1, "")
    assert "3 dead letters" in asked.stderr
    assert await listed(environment) == letters[::-1]

    dropped = await els(environment, "dlq", "drop", "--reason", "not_json", "--because", "April\x1bfools", "--yes")

    assert (dropped.exit_code, dropped.stdout) == (0, "3 dead letters dropped\n")
    assert await listed(environment) == letters[3:]
    rows = await harness.rows("SELECT value, message FROM dead_letters WHERE state = 'discarded'")
    assert {row.value for row in rows} == {None}
    assert all(row.message.endswith(r": April\x1bfools]") for row in rows)
    rest = await els(environment, "dlq", "drop", "--all", "--yes", "--json")
    assert json.loads(rest.stdout) == {"outcome": "dropped", "dead_letters": 1}


async def test_a_database_that_is_away_ends_with_3_and_one_line_without_its_password(
    environment: Mapping[str, str],
) -> None:
    away = {**environment, "ELS_DATABASE_URL": "postgresql://ada:s3cr3t@127.0.0.1:1/essays"}

    ended = await els(away, "dlq", "list")

    assert ended.exit_code == 3
    assert ended.stderr.count("\n") == 1
    assert "s3cr3t" not in ended.output


async def test_a_database_without_a_schema_ends_with_2(environment: Mapping[str, str], empty_database: str) -> None:
    ended = await els({**environment, "ELS_DATABASE_URL": empty_database}, "dlq", "list")

    assert ended.exit_code == 2
    assert "els migrate" in ended.stderr
