"""Run a relay in its own process: `python -m tests.support.relay_process DATABASE BROKER PREFIX OPTIONS [FLAG]`.

It stops cleanly on SIGTERM. With `die-before-delete` it kills itself between the first acks and their delete. With
`clock-ahead` its clock is two hours ahead.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.db.engine import Limits, create_engine
from els_stream.queries import outbox_segments
from els_stream.queries.outbox_segments import Segment
from els_stream.relay import Relay, RelayOptions
from tests.support import clock


async def die(conn: AsyncConnection, segments: Sequence[Segment]) -> None:
    del conn, segments
    os.kill(os.getpid(), signal.SIGKILL)


async def main(database: str, broker: str, prefix: str, options: str, *flags: str) -> None:
    if "die-before-delete" in flags:
        outbox_segments.delete = die
    if "clock-ahead" in flags:
        clock.set_ahead()
    url = make_url(database).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    engine = create_engine(url, Limits(), name="els relay under test")
    relay = Relay(engine, broker=broker, topic_prefix=prefix, options=RelayOptions(**json.loads(options)))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await relay.start()
    sys.stdout.write("started\n")
    sys.stdout.flush()
    await stop.wait()
    await relay.stop()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
