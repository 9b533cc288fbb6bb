"""Makes the records and the expected events of a demo from a seed. Pure: no clock, no broker, no other randomness."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from els_stream.demo.expectations import Expectation, Poison, Traffic
from els_stream.demo.poison import POISON_KINDS, poison
from els_stream.demo.random_source import RandomSource
from els_stream.demo.scenario_builder import PlannedRecord, ScenarioBuilder
from els_stream.demo.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from els_stream.demo.messages import Message
    from els_stream.events.dead_letter_reasons import DeadLetterReason

SMALLEST: Final = 1
LARGEST: Final = 120
COPIES: Final = 2
REPEAT_EVERY: Final = 10
# Interval between the starts of two batches; the uploads of one take 1. So about seven batches overlap.
_PACE: Final = 0.15
# By how much a late record is delayed, in the same unit.
_DELAYS: Final = (0.1, 1.0)
# The first two batches of any demo are the smallest and the largest.
_SIZES: Final = (SMALLEST, LARGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """The unusual records of a demo; `late` and `refused` are ratios to all records.

    Late records are overtaken by others. Invalid records are added until the ratio of refused ones is reached. Every
    tenth record is repeated in any mix. `overdue`: the workers' deadline passes before the demo ends.
    """

    late: float = 0.0
    refused: float = 0.0
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class _Delivery:
    sent: PlannedRecord
    moment: float


def make_traffic(seed: int, batches: int, largest: int = LARGEST, mix: Mix | None = None) -> Traffic:
    """Return overlapping batches, one scenario after the other, with every tenth record sent twice more, later."""
    mix = mix or Mix()
    rng = RandomSource(seed)
    sent: list[PlannedRecord] = []
    expectations: list[Expectation] = []
    for number in range(batches):
        builder = _builder(rng, number, largest, overdue=mix.overdue)
        expectations.append(builder.build())
        sent += [_later(record, number * _PACE) for record in builder.sent]
    end = batches * _PACE + 1
    sent += [PlannedRecord(rng.uniform(0, end), message, reason) for message, reason in _unreadable(rng, sent, mix)]
    sent = _with_delays(rng, sent, mix)
    deliveries = sorted(_deliveries(rng, sent), key=lambda delivery: delivery.moment)
    return Traffic(
        seed,
        messages=tuple(delivery.sent.message for delivery in deliveries),
        expectations=tuple(expectations),
        poison=tuple(_poison(delivery.sent for delivery in deliveries)),
    )


def _builder(rng: RandomSource, number: int, largest: int, *, overdue: bool) -> ScenarioBuilder:
    scenario = SCENARIOS[number % len(SCENARIOS)]
    size = min(_SIZES[number], largest) if number < len(_SIZES) else rng.randint(SMALLEST, largest)
    return ScenarioBuilder(rng, scenario, f"batch-{number + 1:03}", max(size, scenario.min_slots), overdue)


def _later(sent: PlannedRecord, by: float) -> PlannedRecord:
    return replace(sent, moment=sent.moment + by)


def _unreadable(
    rng: RandomSource, sent: Sequence[PlannedRecord], mix: Mix
) -> Iterator[tuple[Message, DeadLetterReason]]:
    """Yield invalid records, at least one of each kind."""
    yield from poison(rng)
    refused = sum(record.reason is not None for record in sent) + POISON_KINDS
    more = round(mix.refused * len(sent)) - refused
    yield from islice(chain.from_iterable(poison(rng) for _ in range(more)), max(0, more))


def _with_delays(rng: RandomSource, sent: Sequence[PlannedRecord], mix: Mix) -> list[PlannedRecord]:
    movable = [number for number, record in enumerate(sent) if not record.keeps_order]
    late = set(rng.sample(movable, min(len(movable), round(mix.late * len(sent)))))
    # Not by iterating `late`: the order of a set may vary.
    return [_later(record, rng.uniform(*_DELAYS)) if number in late else record for number, record in enumerate(sent)]


def _deliveries(rng: RandomSource, sent: Sequence[PlannedRecord]) -> Iterator[_Delivery]:
    for number, record in enumerate(sent, start=1):
        yield _Delivery(record, record.moment)
        if number % REPEAT_EVERY == 0:
            for moment in rng.some_of(COPIES, record.moment, record.moment + 1):
                yield _Delivery(record, moment)


def _poison(delivered: Iterable[PlannedRecord]) -> Iterator[Poison]:
    """Group records of the same bytes, as their dead letters cannot be distinguished."""
    refused = Counter((sent.message, sent.reason, sent.may_wait) for sent in delivered if sent.reason is not None)
    for (message, reason, may_wait), count in refused.items():
        yield Poison(message, reason, count, may_wait)


def with_injected_error(traffic: Traffic) -> Traffic:
    """Return the same records, expecting one essay more than is sent, so that the check must fail."""
    first, *others = traffic.expectations
    # Not overdue: otherwise the demo would wait for a timeout of this batch.
    wrong = replace(first, essay_ids=first.essay_ids | {"the-essay-that-the-dog-ate"}, overdue=False)
    return replace(traffic, expectations=(wrong, *others))
