"""The view of `els watch`: it fits its terminal, and prints no control character of the data."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from els_stream.commands.watch_data import WatchData
from els_stream.commands.watch_view import OTHER_LINES, duration, render, sparkline
from els_stream.queries.dashboard import DashboardSnapshot, PurgeRun, StoredOffsetAge
from els_stream.queries.listing import BatchSummary
from els_stream.queries.stats import PurgeStats, Stats
from els_stream.web.history import Sample

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
STATS = Stats(
    active={"GUEST": 3, "REGULAR": 2},
    completed={"GUEST": 1, "REGULAR": 0},
    purged={"GUEST": 0, "REGULAR": 0},
    dead_letters={"not_json": 2, "guest_batch": 0},
    pending={"content_provisioned": 4},
    pending_oldest_seconds=130,
    outbox_rows=0,
    outbox_deferred=0,
    outbox_oldest_seconds=0,
    purge=PurgeStats(running=False, batches=3, started_at=0, finished=False),
)
SNAPSHOT = DashboardSnapshot(
    offsets=[StoredOffsetAge("registered", 0, 9, NOON - timedelta(seconds=7), 0.1)],
    purges=[PurgeRun("purge", "GUEST", 14, 3, NOON - timedelta(hours=3), None)],
    unknown_validation_codes=[],
    completed=0,
    waited_seconds=None,
    read_at=NOON,
)


def line(batch_id: str, state: str = "open", *, expected: int | None = 10, failed: int = 1) -> BatchSummary:
    return BatchSummary(
        batch_id, state, "GUEST", expected, 4, failed, 5, 2, 0, NOON - timedelta(minutes=5), None, None, None
    )


def rendered(data: WatchData, *, width: int = 80, height: int = 24) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=False, highlight=False)
    console.print(render(data, height))
    return out.getvalue().splitlines()


def watch_data(*batches: BatchSummary, status: dict[str, object] | None = None, error: str | None = None) -> WatchData:
    return WatchData(STATS, batches, SNAPSHOT, [Sample(2.0, 0.015, 0.0)], "http://worker", status, error)


def test_the_view_fits_80_columns_and_24_lines_and_fills_the_rest_with_batches() -> None:
    lines = rendered(watch_data(*(line(f"batch {number}") for number in range(40))))

    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert sum("4 of 10, 1 failed" in line for line in lines) == 24 - OTHER_LINES


def test_the_view_shows_the_numbers_of_the_page() -> None:
    text = "\n".join(rendered(watch_data(line("guests"), line("early", "unregistered", expected=None)), width=120))

    for words in ("active batches 5", "GUEST 3 · REGULAR 2", "oldest 2 min", "not json 2", "2.0", "15 ms", "2 pending"):
        assert words in text
    assert "9 records processed, the last 7 s ago" in text
    assert "purge, 3 batches, started 3 h ago" in text


def test_the_first_line_names_the_worker_or_why_it_is_not_ready() -> None:
    worker = {"host": "classroom", "pid": 7}
    status: dict[str, object] = {"worker": worker, "not_ready": [], "lag": [{"records": 5}], "relay": None}
    ready = rendered(watch_data(status=status), width=120)
    not_ready = {**status, "not_ready": [{"code": "partition_paused", "detail": "\x1b[2J"}]}

    assert "● ready  http://worker: classroom, process 7" in ready[0]
    assert "records to process 5" in "\n".join(ready)
    assert r"not ready: partition_paused (\x1b[2J)" in rendered(watch_data(status=not_ready), width=120)[0]


def test_the_first_line_says_that_worker_or_database_does_not_answer() -> None:
    assert "no worker answers at http://worker" in rendered(watch_data(), width=120)[0]
    assert (
        "the database does not answer: 08006; the data below is out of date"
        in rendered(watch_data(error="08006"), width=120)[0]
    )


def test_a_hostile_batch_id_is_escaped_and_is_no_markup() -> None:
    text = "\n".join(rendered(watch_data(line("\x1b]0;owned\x07\n[red]x[/]")), width=120))

    assert "\x1b" not in text
    assert r"\x1b]0;owned\x07\n[red]x[/]" in text


def test_a_sparkline_keeps_peaks_and_gaps() -> None:
    assert sparkline([0, None, 7, 3.5]) == "▁ █▅"
    assert len(sparkline([1.0] * 720)) == 36
    assert "█" in sparkline([*[0.0] * 100, 9.0, *[0.0] * 100])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.015, "15 ms"), (59.6, "60 s"), (200, "3 min"), (8000, "2 h"), (200_000, "2 days")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
