"""The baseline: Faust without changes, with an agent that does nothing.

As it comes: no setting that is about its speed is touched. Without its leader topic, which most applications have no
use for, it is twice as fast: that is measured beside it.

`python -m tests.benchmarks.stock_faust BROKER TOPIC RECORDS [without-leader]`, in a process of its own, prints the
seconds from the first record to the last one, of the clock and of CPU, and ends.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import uuid
from typing import Final

import faust
from faust.types import StreamT

WITHOUT_LEADER: Final = "without-leader"


def stock_app(broker: str, topic_name: str, records: int, *, leader: bool) -> faust.App:
    app = faust.App(
        f"stock-{uuid.uuid4().hex[:8]}",
        broker=f"kafka://{broker}",
        datadir=tempfile.gettempdir(),
        store="memory://",
        topic_disable_leader=not leader,
        web_enabled=False,
    )
    topic = app.topic(topic_name, key_serializer="raw", value_serializer="raw", key_type=bytes, value_type=bytes)

    async def do_nothing(stream: StreamT[bytes]) -> None:
        seen, started, used = 0, 0.0, 0.0
        async for _ in stream:
            seen += 1
            if seen == 1:
                started, used = time.monotonic(), time.process_time()
            if seen == records:
                _report(time.monotonic() - started, time.process_time() - used)

    app.agent(topic)(do_nothing)
    return app


def _report(seconds: float, cpu: float) -> None:
    """End the process without leaving the group, which would take longer than the measurement."""
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu": cpu}) + "\n")
    sys.stdout.flush()
    os._exit(0)


def main(broker: str, topic: str, records: str, variant: str = "") -> None:
    app = stock_app(broker, topic, int(records), leader=variant != WITHOUT_LEADER)
    faust.Worker(app, loglevel="CRITICAL", quiet=True, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
