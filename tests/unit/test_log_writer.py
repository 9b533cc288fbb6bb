"""Log lines are written by a thread; while they can't be written they wait, and then they are dropped and counted."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from els_stream import log_writer
from els_stream.log_writer import LogWriter

SECONDS = 10
PIPE = 65_536
LINE = "x" * 999 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    os.close(read_end)
    os.close(write_end)


def read_lines(descriptor: int, last: str) -> list[str]:
    """Read until a line ends with `last`."""
    data = b""
    while not data.endswith(f"{last}\n".encode()):
        data += os.read(descriptor, PIPE)
    return data.decode().splitlines()


def test_lines_are_written_in_order(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    writer = LogWriter(write_end)

    for number in range(100):
        writer.write(f"line {number}\n")

    assert read_lines(read_end, "line 99") == [f"line {number}" for number in range(100)]
    assert writer.drain(SECONDS)
    assert writer.dropped == 0


def test_lines_beyond_the_limit_are_dropped_counted_and_reported(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = pipe
    writer = LogWriter(write_end, max_waiting=10 * len(LINE))
    logger = logging.getLogger("log writer of a test")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(writer))
    monkeypatch.setattr(log_writer, "log", logger)
    os.write(write_end, b"-" * (PIPE - 1) + b"\n")

    sent = 0
    while writer.dropped < 3:
        writer.write(LINE)
        sent += 1
    assert not writer.drain(0)

    _, *lines = read_lines(read_end, "since the log was not read")
    assert lines == [LINE.rstrip()] * (sent - 3) + ["3 log lines were dropped, since the log was not read"]


def test_a_pipe_that_another_process_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    os.set_blocking(write_end, False)
    writer = LogWriter(write_end)

    for _ in range(200):
        writer.write(LINE)
    writer.write("end\n")

    assert len(read_lines(read_end, "end")) == 201
    assert writer.dropped == 0


def test_lines_for_a_reader_that_is_gone_are_dropped() -> None:
    read_end, write_end = os.pipe()
    writer = LogWriter(write_end)
    os.close(read_end)
    try:
        writer.write(LINE)
        assert writer.drain(SECONDS)
        writer.write(LINE)
        assert writer.drain(SECONDS)
        assert writer.dropped == 2
    finally:
        os.close(write_end)


def test_the_end_of_the_process_waits_for_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = "from els_stream.log_writer import stderr\nfor n in range(1000): stderr.write(f'line {n}\\n')"

    with log.open("wb") as file:
        subprocess.run([sys.executable, "-c", program], stderr=file, check=True, timeout=SECONDS)

    assert log.read_text().splitlines() == [f"line {number}" for number in range(1000)]
