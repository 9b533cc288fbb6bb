"""What chaos runs measure and report, without servers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from els_stream.demo.messages import Message
from tests.support import chaos_report
from tests.support.capacity import Drain, backlogs
from tests.support.chaos_report import Result
from tests.support.chaos_sum import summed
from tests.support.faults import Fault
from tests.support.progress import Moment, Progress


def drain(seconds: float, cpu: float) -> Drain:
    return Drain(100, seconds, {"workers": cpu})


def result(seed: int, recovery: float, wrong: list[str], seconds_after: float = 2.0) -> Result:
    progress = Progress(
        samples=[(0.0, 0), (60.0, 1000)],
        faults=[Moment(Fault.KILL, 10.0, 10.0)],
        recovery_seconds={Fault.KILL: [recovery]},
    )
    return Result(
        seed=seed,
        records=1000,
        refused=10,
        faults=Counter({Fault.KILL: 1}),
        late_stops=0,
        upstream=Counter({"aiokafka": 1000}),
        progress=progress,
        before=[drain(1.0, 0.2), drain(2.0, 0.2), drain(1.0, 0.2)],
        after=[drain(seconds_after, 0.1)],
        events=700,
        events_by_copies=Counter({0: 690, 1: 8, 3: 2}),
        wrong=wrong,
    )


@pytest.mark.parametrize("count", [0, 2])
def test_backlogs_and_the_records_between_are_all_records_in_order(count: int) -> None:
    messages = [Message("topic", str(number).encode(), b"") for number in range(101)]

    first, between, last = backlogs(messages, count)

    assert [message for part in (*first, between, *last) for message in part] == messages
    assert [len(part) for part in (*first, *last)] == [5] * count * 2


def test_reports_of_several_runs_add_up(tmp_path: Path) -> None:
    for run in (result(1, 0.5, []), result(2, 3.0, ["one too many"], 1.0)):
        folder = tmp_path / str(run.seed)
        folder.mkdir()
        chaos_report.write(run, folder)

    *_, both, faults, sent = summed([tmp_path / "1", tmp_path / "2"]).splitlines()

    assert both == "| all | 2,000 | 20 | 1,400 | 28 | 2 | 0 | 2.0 | 0.50 / 3.00 / 3.00 s | 0.75 | 0.50 | 1 |"
    assert (faults, sent) == ("faults: 2 kill", "sent: 2,000 aiokafka")


def test_a_report_has_the_events_by_their_number_of_copies(tmp_path: Path) -> None:
    page = chaos_report.write(result(1, 0.5, []), tmp_path).read_text()
    written = json.loads((tmp_path / "chaos.json").read_text())

    assert written["copies"] == 14
    assert written["events_by_copies"] == {"0": 690, "1": 8, "3": 2}
    assert all(text in page for text in (">copies: 0<", ">690<", ">copies: 1<", ">8<", ">copies: 3<", ">2<"))
