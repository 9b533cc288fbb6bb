"""A worker whose handler does nothing: it consumes, and stores offsets in a transaction.

`python -m tests.benchmarks.noop_worker WEB_PORT`; all else is set by the environment, as for any worker.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.app import Workload, build, choose_event_loop, run_worker
from els_stream.config.settings import load_settings
from els_stream.consumer.service import ConsumerService
from els_stream.events.records import RawRecord
from els_stream.events.topics import CONTENT_PROVISIONED
from els_stream.handlers.event_handler import DomainHandler
from els_stream.observability.logging import configure_logging


@dataclass(frozen=True, slots=True)
class Nothing:
    label: str = "nothing"


NOTHING = Nothing()


@dataclass(frozen=True, slots=True)
class DoNothing:
    name: str = "do_nothing"
    topic: str = CONTENT_PROVISIONED

    def decode(self, records: Sequence[RawRecord]) -> Sequence[RawRecord]:
        return records

    async def lock(self, conn: AsyncConnection, decoded: Sequence[RawRecord]) -> Sequence[RawRecord]:
        del conn
        return decoded

    async def apply(self, conn: AsyncConnection, locked: Sequence[RawRecord]) -> Sequence[Nothing]:
        del conn
        return [NOTHING] * len(locked)


async def run(consumer: ConsumerService, handlers: Mapping[str, DomainHandler]) -> None:
    await consumer.run(handlers["do_nothing"])


def main(web_port: str) -> None:
    settings = load_settings(web_port=int(web_port))
    configure_logging(settings.log_level, settings.log_format)
    choose_event_loop()
    handlers: dict[str, Any] = {"do_nothing": DoNothing()}
    run_worker(build(settings, Workload(handlers, {"do_nothing": run}), on_listening=lambda _: None))


if __name__ == "__main__":
    main(sys.argv[1])
