"""A relay whose clock is ahead: its producers stamp records as such a machine would."""

from __future__ import annotations

import importlib
import time
from functools import wraps
from typing import Any

AHEAD_SECONDS = 2 * 60 * 60

BatchBuilder: Any = importlib.import_module("aiokafka.producer.message_accumulator").BatchBuilder
_append = BatchBuilder.append


@wraps(_append)
def append_ahead(builder: object, *, timestamp: int | None, **fields: object) -> object:
    """Add a record to a batch with a timestamp two hours ahead."""
    assert timestamp is None, "the relay leaves the timestamp to the producer's clock"
    return _append(builder, timestamp=round((time.time() + AHEAD_SECONDS) * 1000), **fields)


def set_ahead() -> None:
    """Set the clock of this process's producers two hours ahead."""
    BatchBuilder.append = append_ahead
