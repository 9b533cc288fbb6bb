"""What one worker says of itself and of the service, for the page: from memory, so that it answers in an outage too."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from els_stream.kafka.offsets import PartitionLag
from els_stream.observability.health import Health, Reason
from els_stream.queries.stats import Stats
from els_stream.relay.service import RelayStatus
from els_stream.version import VERSION
from els_stream.web.history import StatsHistory


class Status:
    """`relay` answers None in a worker without one; `figures` comes with its age in seconds."""

    def __init__(
        self,
        *,
        health: Health,
        glances: StatsHistory,
        figures: Callable[[], tuple[Stats, float] | None],
        lag: Callable[[], Collection[PartitionLag]],
        relay: Callable[[], RelayStatus | None],
        retention: Mapping[str, object],
    ) -> None:
        self._health = health
        self._glances = glances
        self._figures = figures
        self._lag = lag
        self._relay = relay
        self._retention = retention
        self._worker = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": VERSION,
            "started_at": datetime.now(UTC),
        }

    def __call__(self) -> Mapping[str, object]:
        figures = self._figures()
        relay = self._relay()
        glance = self._glances.last
        lag = [asdict(part) for part in self._lag()]
        return {
            "worker": {**self._worker, "partitions": len(lag)},
            "not_ready": [_told(reason) for reason in self._health.not_ready()],
            "figures": None if figures is None else {**asdict(figures[0]), "age_seconds": figures[1]},
            "lag": lag,
            "relay": None if relay is None else asdict(relay),
            "ledger": None if glance is None else [asdict(place) for place in glance.ledger],
            "purges": None if glance is None else [asdict(run) for run in glance.purges],
            "retention": self._retention,
            "glance_age_seconds": self._glances.age_seconds,
        }


def _told(reason: Reason) -> dict[str, str]:
    return {"code": reason.code.value, "detail": reason.detail}
