"""A library that logs the same line again and again does not flood the log."""

from __future__ import annotations

import logging

from els_stream.observability.log_repeats import LINES_PER_WINDOW, WINDOW_SECONDS, RepeatLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(name: str, message: str, *args: object, line: int = 1) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "file.py", line, message, args, None)


def test_lines_of_one_statement_are_limited_whatever_their_arguments() -> None:
    limit = RepeatLimit(Clock())

    written = [limit.filter(record("aiokafka", "no node %s", number)) for number in range(100)]

    assert sum(written) == LINES_PER_WINDOW
    assert limit.filter(record("aiokafka", "something else", line=2))


def test_the_first_line_of_the_next_window_has_the_number_left_out() -> None:
    clock = Clock()
    limit = RepeatLimit(clock)
    for _ in range(100):
        limit.filter(record("aiokafka.consumer.fetcher", "failed"))
    clock.now += WINDOW_SECONDS

    first, second = record("aiokafka.consumer.fetcher", "failed"), record("aiokafka.consumer.fetcher", "failed")

    assert limit.filter(first)
    assert limit.filter(second)
    assert vars(first)["left_out"] == 100 - LINES_PER_WINDOW
    assert "left_out" not in vars(second)


def test_our_own_lines_are_limited_only_if_they_are_equal() -> None:
    limit = RepeatLimit(Clock())
    fetcher = "els_stream.consumer.fetcher"

    different = [limit.filter(record(fetcher, "%s: paused", partition)) for partition in range(50)]
    equal = [limit.filter(record(fetcher, "fetch failed")) for _ in range(50)]

    assert all(different)
    assert sum(equal) == LINES_PER_WINDOW


def test_other_loggers_are_not_limited() -> None:
    limit = RepeatLimit(Clock())

    assert all(limit.filter(record("els_stream.relay", "deferred")) for _ in range(100))
