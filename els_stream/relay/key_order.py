"""Which rows may be in flight together: the order of one pass, without Kafka and without the clock.

Of a key only the first run may be sent: rows that follow one another on one topic with one record key, which is one
partition. The next run comes only after the last row of this one is acked. What of a key fails ends that key's part in
the pass. Keys don't wait for one another.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, TypeAlias, assert_never

from els_stream.queries.outbox import FailedRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from els_stream.queries.outbox import WaitingRow


@dataclass(frozen=True, slots=True)
class Acked:
    """All in-sync replicas have the row."""


@dataclass(frozen=True, slots=True)
class Unsent:
    """Nothing is wrong with the row: its batch was full, or a row before it failed."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """It can't be sent as it is, or not to this topic; others may."""

    error: str


@dataclass(frozen=True, slots=True)
class DeliveryUnknown:
    """The broker did not say; the row may have arrived."""

    error: str


DeliveryOutcome: TypeAlias = Acked | Unsent | Rejected | DeliveryUnknown


class KeyOrder:
    """One pass over fetched rows, each key's in order. What `acked` and `refused` hold must be written back."""

    def __init__(self, rows: Iterable[WaitingRow]) -> None:
        self.acked: list[WaitingRow] = []
        self.refused: list[FailedRow] = []
        self.unanswered: list[FailedRow] = []
        self._waiting: dict[str, deque[WaitingRow]] = {}
        for row in rows:
            self._waiting.setdefault(row.order_key, deque()).append(row)

    def runs(self) -> list[Sequence[WaitingRow]]:
        """The next wave; empty when the pass is over."""
        return [_first_run(rows) for rows in self._waiting.values()]

    def settle(self, outcomes: Iterable[tuple[WaitingRow, DeliveryOutcome]]) -> None:
        """What became of a wave, each key's rows in order. Rows that are not named stay for the next wave."""
        for row, outcome in outcomes:
            match outcome:
                case Acked():
                    self._leave(row)
                    self.acked.append(row)
                case Rejected(error):
                    self._end(row)
                    self.refused.append(FailedRow(row, error))
                case DeliveryUnknown(error):
                    self._end(row)
                    self.unanswered.append(FailedRow(row, error))
                case Unsent():
                    pass
                case _:
                    assert_never(outcome)

    def _leave(self, row: WaitingRow) -> None:
        rows = self._waiting[row.order_key]
        if rows[0] is not row:
            raise AssertionError("an ack overtook an earlier row of its key")
        rows.popleft()
        if not rows:
            del self._waiting[row.order_key]

    def _end(self, row: WaitingRow) -> None:
        self._waiting.pop(row.order_key, None)


def _first_run(rows: deque[WaitingRow]) -> Sequence[WaitingRow]:
    first = rows[0]
    return list(takewhile(lambda row: row.topic == first.topic and row.key == first.key, rows))
