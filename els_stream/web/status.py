"""The state of one worker and of the service, for the dashboard. Read from memory, so it answers in an outage too."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Protocol

from els_stream.kafka.consumer_group import GroupMember
from els_stream.kafka.offsets import PartitionLag
from els_stream.observability.health import Health, Reason
from els_stream.queries.stats import Stats
from els_stream.relay.status import RelayStatus
from els_stream.version import VERSION
from els_stream.web.history import StatsHistory


class PolledState(Protocol):
    """What is read from the database and from the broker at an interval."""

    def stats(self) -> tuple[Stats, float] | None:
        """Return the newest stats and their age in seconds."""
        ...

    def workers(self) -> Collection[GroupMember]: ...


class Status:
    """The source of `/api/status`: a call returns the body."""

    def __init__(
        self,
        *,
        health: Health,
        history: StatsHistory,
        poller: PolledState,
        lag: Callable[[], Collection[PartitionLag]],
        relay: Callable[[], RelayStatus | None],
        retention: Mapping[str, object],
    ) -> None:
        """`relay` returns None without a relay."""
        self._health = health
        self._history = history
        self._poller = poller
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
        stats = self._poller.stats()
        relay = self._relay()
        snapshot = self._history.last
        lag = [asdict(partition) for partition in self._lag()]
        return {
            "worker": {**self._worker, "partitions": len(lag)},
            "workers": [asdict(worker) for worker in self._poller.workers()],
            "not_ready": [_reason_json(reason) for reason in self._health.not_ready()],
            "stats": None if stats is None else {**asdict(stats[0]), "age_seconds": stats[1]},
            "lag": lag,
            "relay": None if relay is None else asdict(relay),
            "offsets": None if snapshot is None else [asdict(stored) for stored in snapshot.offsets],
            "unknown_validation_codes": []
            if snapshot is None
            else [asdict(one) for one in snapshot.unknown_validation_codes],
            "purges": None if snapshot is None else [asdict(run) for run in snapshot.purges],
            "retention": self._retention,
            "snapshot_age_seconds": self._history.age_seconds,
        }


def _reason_json(reason: Reason) -> dict[str, str]:
    return {"code": reason.code.value, "detail": reason.detail}
