"""Upstream transactions that stay open: a partition waits for them, and its records can't be read meanwhile.

A worker can do nothing about it: their producer ends them, or the broker aborts them after the producer's
`transaction.timeout.ms`. So the partition is named, with the age, and the worker stays alive.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from els_stream.consumer.partition_state import OpenTransaction, PartitionState
from els_stream.kafka.offsets import Partition

log = logging.getLogger(__name__)

# A transaction of usual length is nothing to report.
REPORT_AFTER_SECONDS: Final = 10.0


class OpenTransactions:
    """Finds open transactions, and logs those that stay open and their ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged: set[Partition] = set()

    def update(self, state: PartitionState, high_watermark: int) -> None:
        """Compare the high watermark with `log_end_offset`, the end of the readable records, as it was read after."""
        now, before, offset, tp = self._clock(), state.open_transaction, state.log_end_offset, state.partition
        if high_watermark <= offset:
            state.open_transaction = None
        else:
            since = before.since if before is not None and before.offset == offset else now
            state.open_transaction = OpenTransaction(offset, high_watermark - offset, since)
        described = describe(state.open_transaction, now)
        if described and tp not in self._logged:
            self._logged.add(tp)
            log.warning("%s: %s", tp, described)
        elif not described and tp in self._logged:
            self._logged.remove(tp)
            log.info("%s: the upstream transaction has ended; its records can be read", tp)


def describe(transaction: OpenTransaction | None, now: float) -> str | None:
    """Return a line for people; None without a transaction that has been open for REPORT_AFTER_SECONDS."""
    if transaction is None or now - transaction.since < REPORT_AFTER_SECONDS:
        return None
    return (
        f"an upstream transaction has been open for {now - transaction.since:.0f} s; "
        f"{transaction.records} records from offset {transaction.offset} on can't be read until it ends"
    )
