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

    async def move(self) -> None:
        await self._restart_at(*new_ports(1))

    async def move_home(self) -> None:
        if self.port != self._home:
            await self._restart_at(self._home)

    async def _restart_at(self, port: int) -> None:
        await self._kafka.kill()
        self._record.write_text(json.dumps([port, self._controller]))
        self.port = port
        await self._kafka.start()


@asynccontextmanager
async def moved_broker(kafka: EmbeddedKafka, state_dir: Path) -> AsyncIterator[MovedBroker]:
    """Yield the broker, which moves on request; it is back at its own port after the block."""
    broker = MovedBroker(kafka, state_dir)
    try:
        yield broker
    finally:
        await broker.move_home()
