"""A frame of `els watch`: it fits its terminal, and nothing from outside moves the cursor."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from els_stream.commands.watch_data import WatchData
from els_stream.commands.watch_view import LINES_AROUND, duration, frame, spark
from els_stream.queries.dashboard import DashboardSnapshot, PurgeRun, StoredOffsetAge
from els_stream.queries.listing import BatchLine
from els_stream.queries.stats import PurgeStats, Stats
from els_stream.web.history import Sample

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
FIGURES = Stats(
    active={"GUEST": 3, "REGULAR": 2},
    completed={"GUEST": 1, "REGULAR": 0},
    purged={"GUEST": 0, "REGULAR": 0},
    dead_letters={"not_json": 2, "guest_batch": 0},
    parked={"content_provisioned": 4},
    parked_oldest_seconds=130,
    outbox_rows=0,
    outbox_held=0,
    outbox_oldest_seconds=0,
    purge=PurgeStats(running=False, batches=3, started_at=0, finished=False),
)
GLANCE = DashboardSnapshot(
    ledger=[StoredOffsetAge("registered", 0, 9, NOON - timedelta(seconds=7), 0.1)],
    purges=[PurgeRun("purge", "GUEST", 14, 3, NOON - timedelta(hours=3), None)],
    completed=0,
    waited_seconds=None,
    read_at=NOON,
)


def line(batch_id: str, state: str = "open", *, expected: int | None = 10, failed: int = 1) -> BatchLine:
    return BatchLine(
        batch_id, state, "GUEST", expected, 4, failed, 5, 2, 0, NOON - timedelta(minutes=5), None, None, None
    )


def shown(seen: WatchData, *, width: int = 80, height: int = 24) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=False, highlight=False)
    console.print(frame(seen, height))
    return out.getvalue().splitlines()


def seen(*batches: BatchLine, status: dict[str, object] | None = None, trouble: str | None = None) -> WatchData:
    return WatchData(FIGURES, batches, GLANCE, [Sample(2.0, 0.015, 0.0)], "http://worker", status, trouble)


def test_a_frame_fits_24_lines_of_80_with_as_many_batches_as_there_is_room_for() -> None:
    lines = shown(seen(*(line(f"batch {number}") for number in range(40))))

    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert sum("4 of 10, 1 failed" in line for line in lines) == 24 - LINES_AROUND


def test_a_frame_tells_what_the_page_tells() -> None:
    told = "\n".join(shown(seen(line("guests"), line("early", "unregistered", expected=None)), width=120))

    for words in ("active batches 5", "GUEST 3 · REGULAR 2", "oldest 2 min", "not json 2", "2.0", "15 ms", "2 parked"):
        assert words in told
    assert "9 handled, moved 7 s ago" in told
    assert "purge, 3 batches, began 3 h ago" in told


def test_a_worker_that_answers_is_named_and_one_that_is_not_ready_says_why() -> None:
    worker = {"host": "classroom", "pid": 7}
    status: dict[str, object] = {"worker": worker, "not_ready": [], "lag": [{"records": 5}], "relay": None}
    ready = shown(seen(status=status), width=120)
    held = {**status, "not_ready": [{"code": "partition_paused", "detail": "\x1b[2J"}]}

    assert "● ready  http://worker: classroom, process 7" in ready[0]
    assert "to handle 5" in "\n".join(ready)
    assert r"not ready: partition_paused (\x1b[2J)" in shown(seen(status=held), width=120)[0]


def test_without_a_worker_or_a_database_it_says_so() -> None:
    assert "no worker answers at http://worker" in shown(seen(), width=120)[0]
    assert (
        "the database does not answer: 08006; what you see is out of date" in shown(seen(trouble="08006"), width=120)[0]
    )


def test_a_hostile_batch_id_stays_on_its_line_and_is_no_markup() -> None:
    told = "\n".join(shown(seen(line("\x1b]0;owned\x07\n[red]x[/]")), width=120))

    assert "\x1b" not in told
    assert r"\x1b]0;owned\x07\n[red]x[/]" in told


def test_a_spark_keeps_its_peaks_and_its_gaps() -> None:
    assert spark([0, None, 7, 3.5]) == "▁ █▅"
    assert len(spark([1.0] * 720)) == 36
    assert "█" in spark([*[0.0] * 100, 9.0, *[0.0] * 100])


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (0.015, "15 ms"), (59.6, "60 s"), (200, "3 min"), (8000, "2 h"), (200_000, "2 days")],
)
def test_durations_are_short(seconds: float, told: str) -> None:
    assert duration(seconds) == told
