"""One form for every line that is logged, by us, by Faust or by aiokafka; never contents, never students' names."""

from __future__ import annotations

import logging.config
import re
import sys
import traceback
from typing import Literal, TypeAlias

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

LogStyle: TypeAlias = Literal["auto", "json", "console"]

PRIVATE = frozenset(
    {"content", "email", "file_name", "headers", "original_file_name", "payload", "student", "text"}
    | {"value", "student_name", "first_name", "last_name", "student_email"}
)
"""Fields whose value may hold what a student wrote, or who wrote it: only their presence is logged."""

# Where PostgreSQL, asyncpg and SQLAlchemy quote a row or a statement's parameters inside the message of an error.
# It ends where Python goes on to the next exception of the chain.
_QUOTED_DATA = re.compile(
    r"^(DETAIL:|CONTEXT:|\[parameters:|\[SQL:).*?(?=\n\n(?:The above exception|During handling)|\Z)",
    re.MULTILINE | re.DOTALL,
)
# SQLAlchemy logs for a pool under the name of the pool's class, which is ours.
_CHATTY = ("aiokafka", "alembic", "asyncio", "els_stream.db.engine", "faust", "mode", "sqlalchemy")


def configure_logging(level: str, style: LogStyle) -> None:
    """For the whole process, to stderr; may be called again with other values."""
    logging.config.dictConfig(logging_config(level, style))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def logging_config(level: str, style: LogStyle) -> dict[str, object]:
    """For logging.config.dictConfig, and for Faust, which would put its own colours over ours."""
    quieter = "DEBUG" if level.lower() == "debug" else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(style)],
                "foreign_pre_chain": [*_shared(), structlog.stdlib.ExtraAdder(), hide_private],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "lines"}},
        "loggers": {name: {"level": quieter} for name in _CHATTY},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
    }


def hide_private(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {field: "[private]" if field in PRIVATE else value for field, value in event.items()}


def traceback_without_data(exc_info: ExcInfo) -> str:
    """Frames and messages, less the lines in which a database quotes what it was given."""
    return _QUOTED_DATA.sub("[data left out]", "".join(traceback.format_exception(*exc_info)).rstrip())


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_private,
    ]


def _rendering(style: LogStyle) -> list[Processor]:
    exceptions = structlog.processors.ExceptionRenderer(traceback_without_data)
    terminal = sys.stderr.isatty()
    if style == "console" or (style == "auto" and terminal):
        return [exceptions, structlog.dev.ConsoleRenderer(colors=terminal)]
    return [exceptions, structlog.processors.JSONRenderer()]
