"""One lane: a producer of its own and one pass at a time. Another way to send replaces `Sender` and nothing else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from els_stream.errors import ServersUnavailable
from els_stream.failpoints import Failpoint, failpoint
from els_stream.relay.key_order import KeyOrder
from els_stream.relay.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable

    from els_stream.relay.dispatcher import Dispatcher
    from els_stream.relay.health_counts import RelayHealth
    from els_stream.relay.options import OnAck
    from els_stream.relay.publish_batch import PublishBatch
    from els_stream.relay.shard_leases import ShardLeases


SENDING: Final = "sending"


class Publisher:
    def __init__(
        self, *, desk: Dispatcher, shards: ShardLeases, health: RelayHealth, sender: Callable[[], Sender], on_ack: OnAck
    ) -> None:
        self._desk = desk
        self._shares = shards
        self._health = health
        self._sender = sender
        self._on_ack = on_ack
        self._stopping = False

    def finish(self) -> None:
        """No wave begins after this; `run` returns once the present one is written back, if it is in a pass."""
        self._stopping = True

    async def run(self) -> None:
        """Ends with ServersUnavailable when the broker answers nothing; the rows wait in the outbox."""
        async with self._sender() as sender:
            while not self._stopping:
                work = await self._desk.next_work(on_idle=self._work_again)
                waves = KeyOrder(work.rows)
                try:
                    await self._relay(sender, work, waves)
                finally:
                    self._desk.finish(work, whole=len(waves.acked) == len(work.rows))
                self._work_again()

    def _work_again(self) -> None:
        """A producer that opened says little: only a pass, or nothing to send, ends a trouble."""
        self._health.fine(SENDING)

    async def _relay(self, sender: Sender, work: PublishBatch, waves: KeyOrder) -> None:
        began = time.time()
        try:
            while (runs := waves.runs()) and self._may_send(work) and not waves.unanswered:
                waves.settle(await sender.send(runs))
        finally:
            await self._write_back(waves, began)
        if waves.unanswered and not waves.acked:
            raise ServersUnavailable(f"the broker does not answer: {waves.unanswered[0].error}")

    async def _write_back(self, waves: KeyOrder, began: float) -> None:
        # While nothing at all is acked it is an outage, and no row's fault.
        held = [*waves.refused, *(waves.unanswered if waves.acked else ())]
        if waves.acked or held:
            if waves.acked:
                self._on_ack(waves.acked, began)
                failpoint(Failpoint.AFTER_SEND)
            await self._desk.write_back(waves.acked, held)
        self._health.acked += len(waves.acked)
        self._health.refused += len(waves.refused)

    def _may_send(self, work: PublishBatch) -> bool:
        return not self._stopping and self._shares.holds(work.tenure)
