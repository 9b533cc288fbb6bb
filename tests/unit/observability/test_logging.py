"""Log lines of all libraries have one format and hold no text and no name of a student."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
import structlog

from els_stream.observability.logging import LogStyle, configure_logging


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_a_json_object_with_the_fields_of_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")

    structlog.get_logger("els_stream.agents").info("slot assigned", batch_id="b-1", attempt=2)

    (line,) = lines(capsys)
    assert {"event": "slot assigned", "level": "info", "batch_id": "b-1", "attempt": 2}.items() <= line.items()
    assert line["logger"] == "els_stream.agents"
    assert line["timestamp"].endswith("Z")


def test_auto_logs_text_to_a_terminal_and_json_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        configure_logging("info", "auto")
        structlog.get_logger("els_stream").info("handled", records=3)
        written.append(capsys.readouterr().err)

    assert ["handled" in line for line in written] == [True, True]
    assert [line.startswith("{") for line in written] == [False, True]


def test_libraries_log_in_the_same_format(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")

    logging.getLogger("faust.worker").warning("partition %d is late", 3)

    (line,) = lines(capsys)
    assert line["event"] == "partition 3 is late"
    assert line["logger"] == "faust.worker"


def test_libraries_log_info_only_at_level_debug(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    logging.getLogger("aiokafka.consumer").info("joined")
    assert lines(capsys) == []

    configure_logging("debug", "json")
    logging.getLogger("aiokafka.consumer").info("joined")
    assert [line["event"] for line in lines(capsys)] == ["joined"]


def test_lower_levels_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "json")

    structlog.get_logger("els_stream").info("too small to mention")

    assert lines(capsys) == []


@pytest.mark.parametrize("style", ["json", "console"])
def test_fields_with_student_data_are_replaced(style: LogStyle, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", style)

    structlog.get_logger("els_stream").info("read", text="My summer, by Astrid", original_file_name="astrid.docx")
    logging.getLogger("mode").warning("read", extra={"value": "My summer, by Astrid"})

    written = capsys.readouterr().err
    assert "strid" not in written
    assert written.count("[private]") == 3


@pytest.mark.parametrize("style", ["json", "console"])
def test_tracebacks_hold_no_data_of_database_errors(style: LogStyle, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", style)
    cause = RuntimeError("duplicate key\nDETAIL:  Failing row contains (Astrid,\nsecond line of Astrid).")
    wrapped = RuntimeError("(IntegrityError)\n[SQL: INSERT]\n[parameters: ('Astrid',)]\n(Background on this error)")
    wrapped.__cause__ = cause

    logging.getLogger("faust").error("agent failed", exc_info=wrapped)

    written = capsys.readouterr().err
    assert "Astrid" not in written
    assert "duplicate key" in written
    assert "IntegrityError" in written
