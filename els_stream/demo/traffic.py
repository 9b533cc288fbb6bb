"""A seed to everything that the demo sends and all that must come of it. Pure: no clock, no broker, no other chance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from els_stream.demo.expectations import Expectation, Poison, Traffic
from els_stream.demo.poison import POISON_KINDS, poison
from els_stream.demo.random_source import RandomSource
from els_stream.demo.scenario_builder import ClassSet, Sent
from els_stream.demo.scenarios import STORIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from els_stream.demo.messages import Message
    from els_stream.events.dead_letter_reasons import DeadLetterReason

SMALLEST: Final = 1
LARGEST: Final = 120
COPIES: Final = 2
EVERY: Final = 10
# A new batch begins this often, in units of the time that one takes to hand in: about seven are on their way at once.
_PACE: Final = 0.15
# How much later a late record comes, in the same units.
_DELAYS: Final = (0.1, 1.0)
# The first two stories in any demo are the smallest batch and the largest.
_SIZES: Final = (SMALLEST, LARGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Shares of all records: the `late` are overtaken by others, unreadable ones are added until so many are `refused`.

    Every tenth is repeated in any mix. `overdue`: the workers' deadline is so short that it passes before the end.
    """

    late: float = 0.0
    refused: float = 0.0
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class _Delivery:
    sent: Sent
    moment: float


def make_traffic(seed: int, batches: int, largest: int = LARGEST, mix: Mix | None = None) -> Traffic:
    """The stories in turn, overlapping, then every tenth record twice more at a later time."""
    mix = mix or Mix()
    dice = RandomSource(seed)
    sent: list[Sent] = []
    promises: list[Expectation] = []
    for number in range(batches):
        class_set = _class_set(dice, number, largest, overdue=mix.overdue)
        promises.append(class_set.tell())
        sent += [_later(one, number * _PACE) for one in class_set.sent]
    end = batches * _PACE + 1
    sent += [Sent(dice.uniform(0, end), message, reason) for message, reason in _unreadable(dice, sent, mix)]
    sent = _with_delays(dice, sent, mix)
    deliveries = sorted(_deliveries(dice, sent), key=lambda delivery: delivery.moment)
    return Traffic(
        seed,
        messages=tuple(delivery.sent.message for delivery in deliveries),
        promises=tuple(promises),
        poison=tuple(_poison(delivery.sent for delivery in deliveries)),
    )


def _class_set(dice: RandomSource, number: int, largest: int, *, overdue: bool) -> ClassSet:
    story = STORIES[number % len(STORIES)]
    size = min(_SIZES[number], largest) if number < len(_SIZES) else dice.randint(SMALLEST, largest)
    return ClassSet(dice, story, f"batch-{number + 1:03}", max(size, story.least), overdue)


def _later(sent: Sent, by: float) -> Sent:
    return replace(sent, moment=sent.moment + by)


def _unreadable(dice: RandomSource, sent: Sequence[Sent], mix: Mix) -> Iterator[tuple[Message, DeadLetterReason]]:
    """One of each kind at least."""
    yield from poison(dice)
    refused = sum(one.reason is not None for one in sent) + POISON_KINDS
    more = round(mix.refused * len(sent)) - refused
    yield from islice(chain.from_iterable(poison(dice) for _ in range(more)), max(0, more))


def _with_delays(dice: RandomSource, sent: Sequence[Sent], mix: Mix) -> list[Sent]:
    movable = [number for number, one in enumerate(sent) if not one.in_turn]
    late = set(dice.sample(movable, min(len(movable), round(mix.late * len(sent)))))
    return [
        _later(one, dice.uniform(*_DELAYS)) if number in late else one  # in the order of numbers: the seed decides
        for number, one in enumerate(sent)
    ]


def _deliveries(dice: RandomSource, sent: Sequence[Sent]) -> Iterator[_Delivery]:
    for number, one in enumerate(sent, start=1):
        yield _Delivery(one, one.moment)
        if number % EVERY == 0:
            for moment in dice.some_of(COPIES, one.moment, one.moment + 1):
                yield _Delivery(one, moment)


def _poison(delivered: Iterable[Sent]) -> Iterator[Poison]:
    """Records of the same bytes together: nobody could tell whose letter is whose."""
    refused = Counter((one.message, one.reason, one.parkable) for one in delivered if one.reason is not None)
    for (message, reason, parkable), count in refused.items():
        yield Poison(message, reason, count, parkable)


def with_a_lie(traffic: Traffic) -> Traffic:
    """The same records, and one promise of an essay that nobody sends: the demo must notice."""
    first, *others = traffic.promises
    # No time-out is waited for: the batch is full, but for the lie.
    lie = replace(first, essay_ids=first.essay_ids | {"the-essay-that-the-dog-ate"}, overdue=False)
    return replace(traffic, promises=(lie, *others))
