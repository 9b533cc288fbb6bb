"""`els dlq` on a real database: text for people, JSON for scripts."""

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
async def dead_letters(harness: BatchHarness) -> list[int]:
    """Three unreadable ones, and one whose batch is of another class."""
    await harness.together(*(harness.record(topics.CONTENT_PROVISIONED, b"Dear %d," % n) for n in range(3)))
    await harness.together(harness.registration(essays=1, class_id="class-8a"))
    await harness.together(harness.associations(1))
    return [row.id for row in await harness.rows("SELECT id FROM dead_letters ORDER BY id")]


async def listed(environment: Mapping[str, str], *arguments: str) -> list[int]:
    printed = await els(environment, "dlq", "list", "--json", *arguments)
    assert printed.exit_code == 0, printed.output
    return [json.loads(line)["id"] for line in printed.stdout.splitlines()]


async def test_dead_letters_are_listed_newest_first_by_page(
    environment: Mapping[str, str], dead_letters: list[int]
) -> None:
    assert await listed(environment) == dead_letters[::-1]

    first = await els(environment, "dlq", "list", "--limit", "3")

    assert f"--before {dead_letters[1]}" in first.stderr
    assert await listed(environment, "--limit", "3", "--before", str(dead_letters[1])) == dead_letters[:1]


@pytest.mark.parametrize(
    ("filters", "found"),
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
async def test_dead_letters_are_filtered_by_each_option(
    environment: Mapping[str, str], dead_letters: list[int], filters: list[str], found: list[int]
) -> None:
    assert await listed(environment, *filters) == [dead_letters[index] for index in found]


async def test_dead_letters_of_a_newer_release_are_listed_and_discarded(
    environment: Mapping[str, str], harness: BatchHarness, dead_letters: list[int]
) -> None:
    await harness.execute("UPDATE dead_letters SET reason = 'written_backwards' WHERE reason = 'class_mismatch'")

    assert await listed(environment) == dead_letters[::-1]
    assert await listed(environment, "--reason", "written_backwards") == dead_letters[-1:]
    misspelt = await els(environment, "dlq", "discard", "--reason", "written_upside_down", "--yes")
    assert misspelt.exit_code == 2
    assert "no dead letter has the reason 'written_upside_down'; known are: not_json, " in misspelt.stderr
    discarded = await els(environment, "dlq", "discard", "--all", "--yes")

    assert discarded.stdout == "4 dead letters discarded\n"


async def test_the_table_has_a_line_with_reason_and_batch_for_each(
    environment: Mapping[str, str], dead_letters: list[int]
) -> None:
    printed = (await els(environment, "dlq", "list")).stdout

    assert make.BATCH in printed
    assert "not_json" in printed
    assert len(printed.splitlines()) == len(dead_letters) + 1


async def test_show_prints_the_record_with_control_characters_escaped(
    environment: Mapping[str, str], harness: BatchHarness
) -> None:
    record = make.record(topics.CONTENT_PROVISIONED, HOSTILE, key=b"\x1b[1m", headers=(("x\x1b", b"\x9b\n"),))
    await harness.together(record)
    (dead_letter,) = await listed(environment)

    printed = (await els(environment, "dlq", "show", str(dead_letter))).stdout

    assert r'{"title": "\x1b[2J\x1b]0;owned\x07 \u202e\xff"}' in printed
    assert {c for c in printed if not c.isprintable()} == {"\n"}
    shown = json.loads((await els(environment, "dlq", "show", str(dead_letter), "--json")).stdout)
    assert base64.b64decode(shown["value"]) == HOSTILE
    assert base64.b64decode(shown["headers"][0][1]) == b"\x9b\n"


async def test_showing_an_unknown_dead_letter_exits_with_3(
    environment: Mapping[str, str], dead_letters: list[int]
) -> None:
    result = await els(environment, "dlq", "show", str(dead_letters[-1] + 1))

    assert (result.exit_code, result.stdout) == (3, "")


async def test_replaying_all_counts_outcomes_and_replays_each_once(
    environment: Mapping[str, str], harness: BatchHarness, dead_letters: list[int]
) -> None:
    await harness.execute("UPDATE batch_essay_trackers SET class_id = 'class-9b'")

    result = await els(environment, "dlq", "replay", "--all")

    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "4 dead letters: associations_confirmed 1, failed again 3"
    rows = await harness.rows("SELECT state, count(*) FROM dead_letters GROUP BY state ORDER BY state")
    assert [tuple(row) for row in rows] == [("open", 3), ("replayed", 4)]
    assert len(dead_letters) == 4


async def test_replaying_one_prints_its_outcome_as_json(
    environment: Mapping[str, str], harness: BatchHarness, dead_letters: list[int]
) -> None:
    await harness.execute("UPDATE batch_essay_trackers SET class_id = 'class-9b'")

    result = await els(environment, "dlq", "replay", str(dead_letters[3]), "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"id": dead_letters[3], "outcome": "associations_confirmed", "message": ""}


async def test_a_replay_that_the_database_rejects_leaves_a_dead_letter(
    environment: Mapping[str, str], harness: BatchHarness, dead_letters: list[int]
) -> None:
    await harness.execute("UPDATE batch_essay_trackers SET class_id = 'class-9b'")
    await harness.execute("ALTER TABLE essay_states ALTER COLUMN student_id TYPE varchar(3)")

    result = await els(environment, "dlq", "replay", str(dead_letters[3]))

    assert result.exit_code == 1
    assert f"{dead_letters[3]}: failed again: database_refused: its replay failed: 22001" in result.stdout


@pytest.mark.parametrize("command", ["replay", "discard"])
async def test_replay_and_discard_need_exactly_one_kind_of_selection(
    environment: Mapping[str, str], dead_letters: list[int], command: str
) -> None:
    assert (await els(environment, "dlq", command)).exit_code == 2
    assert (await els(environment, "dlq", command, str(dead_letters[0]), "--all")).exit_code == 2
    assert (await els(environment, "dlq", command, "--older-than", "a while")).exit_code == 2
    assert await listed(environment) == dead_letters[::-1]


async def test_discard_needs_yes_and_prints_how_many(
    environment: Mapping[str, str], harness: BatchHarness, dead_letters: list[int]
) -> None:
    refused = await els(environment, "dlq", "discard", "--reason", "not_json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "3 dead letters" in refused.stderr
    assert "1 dead letter for good" in (await els(environment, "dlq", "discard", str(dead_letters[0]))).stderr
    assert await listed(environment) == dead_letters[::-1]

    discarded = await els(environment, "dlq", "discard", "--reason", "not_json", "--note", "April\x1bfools", "--yes")

    assert (discarded.exit_code, discarded.stdout) == (0, "3 dead letters discarded\n")
    assert await listed(environment) == dead_letters[3:]
    rows = await harness.rows("SELECT value, message FROM dead_letters WHERE state = 'discarded'")
    assert {row.value for row in rows} == {None}
    assert all(row.message.endswith(r": April\x1bfools]") for row in rows)
    rest = await els(environment, "dlq", "discard", "--all", "--yes", "--json")
    assert json.loads(rest.stdout) == {"outcome": "discarded", "dead_letters": 1}


async def test_an_unreachable_database_exits_with_3_and_no_password(
    environment: Mapping[str, str],
) -> None:
    unreachable = {**environment, "ELS_DATABASE_URL": "postgresql://ada:s3cr3t@127.0.0.1:1/essays"}

    result = await els(unreachable, "dlq", "list")

    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert "s3cr3t" not in result.output


async def test_a_database_without_a_schema_exits_with_2(environment: Mapping[str, str], empty_database: str) -> None:
    result = await els({**environment, "ELS_DATABASE_URL": empty_database}, "dlq", "list")

    assert result.exit_code == 2
    assert "els migrate" in result.stderr
