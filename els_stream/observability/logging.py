"""Logging in one format for this service, Faust and aiokafka, without contents and names of students."""

from __future__ import annotations

import logging.config
import re
import sys
import traceback
from typing import Final, Literal, Protocol, TypeAlias

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from els_stream.observability.log_repeats import RepeatLimit

LogStyle: TypeAlias = Literal["auto", "json", "console"]

STDERR: Final = "ext://sys.stderr"

PRIVATE = frozenset(
    {"content", "email", "file_name", "headers", "original_file_name", "payload", "student", "text"}
    | {"value", "student_name", "first_name", "last_name", "student_email"}
)
"""Log fields that may hold a student's text or name: the value is replaced."""

# The part of an error message where PostgreSQL, asyncpg or SQLAlchemy quotes a row or the statement's parameters: up to
# the next exception of the chain.
_QUOTED_DATA = re.compile(
    r"^(DETAIL:|CONTEXT:|\[parameters:|\[SQL:).*?(?=\n\n(?:The above exception|During handling)|\Z)",
    re.MULTILINE | re.DOTALL,
)
# SQLAlchemy uses the pool's class as the logger's name, and the class is els_stream.db.engine's.
_NOISY_LOGGERS = ("aiokafka", "alembic", "asyncio", "els_stream.db.engine", "faust", "mode", "sqlalchemy")
# It logs each request, and with it the password of a login.
_NEVER_DEBUG = {"aiokafka.conn": {"level": "WARNING"}}


class LogStream(Protocol):
    """Where log lines go."""

    def write(self, line: str, /) -> object: ...


def configure_logging(level: str, style: LogStyle, stream: LogStream | None = None) -> None:
    """Configure logging of the whole process, to stderr unless `stream` is given; may be called again."""
    logging.config.dictConfig(logging_config(level, style, stream))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def configure_command_logging(*, debug: bool) -> None:
    """Configure logging of a command that is no service: this service's warnings are lines on stderr.

    What the libraries log is left out, since the command's own error says it; with `debug` everything is logged.
    """
    if debug:
        configure_logging("debug", "console")
        return
    logging.lastResort = _CommandHandler()
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, hide_private, _as_sentence],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


class _CommandHandler(logging.Handler):
    """Prints this service's warnings as the commands print their errors, on what is stderr at that moment."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("els_stream."):
            sys.stderr.write(f"els: {record.getMessage()}\n")


def _as_sentence(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    name = str(event.pop("event")).replace("_", " ")
    fields = ", ".join(f"{field}={value}" for field, value in event.items() if field != "exc_info")
    return f"{name}: {fields}" if fields else name


def logging_config(level: str, style: LogStyle, stream: LogStream | None = None) -> dict[str, object]:
    """Return the configuration for `logging.config.dictConfig` and for Faust, which else would set up its own."""
    library_level = "DEBUG" if level.lower() == "debug" else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(style)],
                "foreign_pre_chain": [*_shared_processors(), structlog.stdlib.ExtraAdder(), hide_private],
            }
        },
        "filters": {"repeats": {"()": RepeatLimit}},
        "handlers": {
            "lines": {
                "class": "logging.StreamHandler",
                "stream": stream or STDERR,
                "formatter": "lines",
                "filters": ["repeats"],
            }
        },
        "loggers": {name: {"level": library_level} for name in _NOISY_LOGGERS} | _NEVER_DEBUG,
        "root": {"level": level.upper(), "handlers": ["lines"]},
    }


def hide_private(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the values of private fields; a structlog processor."""
    return {field: "[private]" if field in PRIVATE else value for field, value in event.items()}


def traceback_without_data(exc_info: ExcInfo) -> str:
    """Return the traceback without the lines in which a database error quotes data."""
    return _QUOTED_DATA.sub("[data left out]", "".join(traceback.format_exception(*exc_info)).rstrip())


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_private,
    ]


def _renderers(style: LogStyle) -> list[Processor]:
    exceptions = structlog.processors.ExceptionRenderer(traceback_without_data)
    terminal = sys.stderr.isatty()
    if style == "console" or (style == "auto" and terminal):
        return [exceptions, structlog.dev.ConsoleRenderer(colors=terminal)]
    return [exceptions, structlog.processors.JSONRenderer()]
