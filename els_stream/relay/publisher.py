"""One publisher: it has a producer of its own and publishes one batch at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from els_stream.errors import ServersUnavailable
from els_stream.failpoints import Failpoint, failpoint
from els_stream.relay.batch_results import results_of
from els_stream.relay.key_order import KeyOrder
from els_stream.relay.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Callable

    from els_stream.relay.dispatcher import Dispatcher
    from els_stream.relay.options import OnAck
    from els_stream.relay.publish_batch import PublishBatch
    from els_stream.relay.shard_leases import ShardLeases
    from els_stream.relay.status import RelayHealth


COMPONENT: Final = "publisher"
# Fails while the broker refuses what this relay sends; recovers with the next ack, since an idle relay proves nothing.
RECORDS: Final = "records"


class RelayRefusedError(ServersUnavailable):
    """The broker refuses the records of this relay, whatever the row."""


class Publisher:
    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        leases: ShardLeases,
        health: RelayHealth,
        sender: Callable[[], Sender],
        on_ack: OnAck,
    ) -> None:
        self._dispatcher = dispatcher
        self._leases = leases
        self._health = health
        self._sender = sender
        self._on_ack = on_ack
        self._stopping = False

    def stop(self) -> None:
        """Start no further round; if a batch is being published, `run` returns once its results are written back."""
        self._stopping = True

    async def run(self) -> None:
        """Publish batches until stopped; raise ServersUnavailable if the broker does not answer or refuses it.

        The rows then wait in the outbox.
        """
        async with self._sender() as sender:
            while not self._stopping:
                batch = await self._dispatcher.next_batch(on_idle=self._clear_error)
                order = KeyOrder(batch.rows)
                try:
                    await self._publish(sender, batch, order)
                finally:
                    self._dispatcher.complete(batch, all_acked=len(order.acked) == batch.size)
                self._clear_error()

    def _clear_error(self) -> None:
        """Clear the error only after a batch or when there is nothing to send: opening a producer proves nothing."""
        self._health.clear_error(COMPONENT)

    async def _publish(self, sender: Sender, batch: PublishBatch, order: KeyOrder) -> None:
        began = time.time()
        try:
            while (runs := order.next_round()) and self._may_send(batch) and not (order.unknown or order.refused):
                order.apply_results(await sender.send(runs))
        finally:
            await self._write_back(batch, order, began)
        if order.refused:
            raise RelayRefusedError(f"the broker refuses this relay: {order.refused[0].error}")
        if order.unknown and not order.acked:
            raise ServersUnavailable(f"the broker does not answer: {order.unknown[0].error}")

    async def _write_back(self, batch: PublishBatch, order: KeyOrder, began: float) -> None:
        if order.acked:
            self._on_ack(order.acked, began)
            failpoint(Failpoint.AFTER_SEND)
        if results := results_of(batch, order):
            await self._dispatcher.write_back(results)
        if order.refused:
            self._health.set_error(RECORDS, RelayRefusedError(order.refused[0].error))
            self._leases.stand_aside()
        elif order.acked:
            self._health.clear_error(RECORDS)
            self._leases.stand_in()
        self._health.acked += len(order.acked)
        self._health.rejected += len(order.rejected)

    def _may_send(self, batch: PublishBatch) -> bool:
        return not self._stopping and self._leases.is_valid(batch.lease)
