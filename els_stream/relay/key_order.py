"""Which rows may be in flight together: the order within one batch, without Kafka and without a clock.

Of a key only its first run may be sent: consecutive rows with the same topic and record key, thus one partition. The
next run follows only when the last row of this one is acked. A row that fails ends its key's turn in this batch. Keys
do not wait for one another.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, TypeAlias, assert_never

from els_stream.queries.outbox_rows import FailedRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from els_stream.queries.outbox_rows import WaitingRow


@dataclass(frozen=True, slots=True)
class Acked:
    """All in-sync replicas have the row."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """This row cannot be sent as it is, or not to its topic; other rows may be sent."""

    error: str


@dataclass(frozen=True, slots=True)
class DeliveryUnknown:
    """The broker did not answer; the row may have arrived."""

    error: str


@dataclass(frozen=True, slots=True)
class RelayRefused:
    """The broker refuses what this relay sends, whatever the row: another relay may be able to send it."""

    error: str


DeliveryOutcome: TypeAlias = Acked | Rejected | DeliveryUnknown | RelayRefused


class KeyOrder:
    """The progress of one batch in rounds.

    The caller writes `acked` and `failed` back to the outbox. Events in `refused` stay as they are.
    """

    def __init__(self, rows: Iterable[WaitingRow]) -> None:
        """Take the rows of a batch, those of each key in order.

        If they are not, the counter of the positions went back, and only the sequences are right.
        """
        self.acked: list[WaitingRow] = []
        self.rejected: list[FailedRow] = []
        self.unknown: list[FailedRow] = []
        self.refused: list[FailedRow] = []
        self._waiting: dict[str, deque[WaitingRow]] = {}
        self._ended: set[str] = set()
        for row in rows:
            of_key = self._waiting.setdefault(row.order_key, deque())
            if of_key and of_key[-1].sequence > row.sequence:
                of_key = self._waiting[row.order_key] = deque(sorted([*of_key, row], key=_sequence))
            else:
                of_key.append(row)

    def next_round(self) -> list[Sequence[WaitingRow]]:
        """Return the first run of every key that has rows left and has not failed; empty when the batch is done."""
        return [_first_run(rows) for key, rows in self._waiting.items() if key not in self._ended]

    @property
    def failed(self) -> list[FailedRow]:
        """Events that could not be sent. If nothing at all was acked it is an outage, and no fault of an event."""
        return [*self.rejected, *(self.unknown if self.acked else ())]

    @property
    def left(self) -> list[WaitingRow]:
        """All events that were not acked."""
        return [row for rows in self._waiting.values() for row in rows]

    def apply_results(self, results: Iterable[tuple[WaitingRow, DeliveryOutcome]]) -> None:
        """Apply the outcomes of a round, each key's rows in order. Rows without an outcome stay for the next round."""
        for row, outcome in results:
            match outcome:
                case Acked():
                    self._remove_first(row)
                    self.acked.append(row)
                case Rejected(error):
                    self._end_turn(row)
                    self.rejected.append(FailedRow(row, error))
                case DeliveryUnknown(error):
                    self._end_turn(row)
                    self.unknown.append(FailedRow(row, error))
                case RelayRefused(error):
                    self._end_turn(row)
                    self.refused.append(FailedRow(row, error))
                case _:
                    assert_never(outcome)

    def _remove_first(self, row: WaitingRow) -> None:
        rows = self._waiting[row.order_key]
        if rows[0] is not row:
            raise AssertionError("an ack overtook an earlier row of its key")
        rows.popleft()
        if not rows:
            del self._waiting[row.order_key]

    def _end_turn(self, row: WaitingRow) -> None:
        self._ended.add(row.order_key)


def _sequence(row: WaitingRow) -> int:
    return row.sequence


def _first_run(rows: deque[WaitingRow]) -> Sequence[WaitingRow]:
    first = rows[0]
    return list(takewhile(lambda row: row.topic == first.topic and row.key == first.key, rows))
