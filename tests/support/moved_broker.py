"""Restarts the embedded broker of a test run at another port, with the same data."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from els_stream.embedded.kafka import EmbeddedKafka
from els_stream.embedded.ports import new_ports, recorded_ports


class MovedBroker:
    def __init__(self, kafka: EmbeddedKafka, state_dir: Path) -> None:
        self._kafka = kafka
        self._record = state_dir / "kafka.ports.json"
        self._home, self._controller = recorded_ports(self._record)
        self.port = self._home

    @property
    def address(self) -> str:
        return self._kafka.address

    async def leave(self) -> int:
        """Kill the broker; return the port that it leaves."""
        await self._kafka.kill()
        return self.port

    async def arrive(self, port: int | None = None) -> None:
        """Start the broker at this port, by default at one that was never used."""
        self.port = port or new_ports(1)[0]
        self._record.write_text(json.dumps([self.port, self._controller]))
        await self._kafka.start()

    async def move_home(self) -> None:
        if self.port != self._home:
            await self.leave()
            await self.arrive(self._home)


@asynccontextmanager
async def moved_broker(kafka: EmbeddedKafka, state_dir: Path) -> AsyncIterator[MovedBroker]:
    """Yield the broker, which moves on request; it is back at its own port after the block."""
    broker = MovedBroker(kafka, state_dir)
    try:
        yield broker
    finally:
        await broker.move_home()
