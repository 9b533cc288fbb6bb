"""A seed to everything that the demo sends and all that must come of it. Pure: no clock, no broker, no other chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from els_stream.demo.class_set import ClassSet, Sent
from els_stream.demo.dice import Dice
from els_stream.demo.poison import poison
from els_stream.demo.promises import Poison, Promise, Traffic
from els_stream.demo.stories import STORIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SMALLEST: Final = 1
LARGEST: Final = 120
COPIES: Final = 2
EVERY: Final = 10
# A new batch begins this often, in units of the time that one takes to hand in: about seven are on their way at once.
_PACE: Final = 0.15
# The first two stories in any demo are the smallest batch and the largest.
_SIZES: Final = (SMALLEST, LARGEST)


@dataclass(frozen=True, slots=True)
class _Delivery:
    sent: Sent
    moment: float


def make_traffic(seed: int, batches: int, largest: int = LARGEST) -> Traffic:
    """The stories in turn, overlapping, then every tenth record twice more at a later time."""
    dice = Dice(seed)
    sent: list[Sent] = []
    promises: list[Promise] = []
    for number in range(batches):
        class_set = _class_set(dice, number, largest)
        promises.append(class_set.tell())
        sent += [_later(one, number * _PACE) for one in class_set.sent]
    end = batches * _PACE + 1
    sent += [Sent(dice.uniform(0, end), message, reason) for message, reason in poison(dice)]
    deliveries = sorted(_deliveries(dice, sent), key=lambda delivery: delivery.moment)
    return Traffic(
        seed,
        messages=tuple(delivery.sent.message for delivery in deliveries),
        promises=tuple(promises),
        poison=tuple(_poison(sent, deliveries)),
    )


def _class_set(dice: Dice, number: int, largest: int) -> ClassSet:
    story = STORIES[number % len(STORIES)]
    size = min(_SIZES[number], largest) if number < len(_SIZES) else dice.randint(SMALLEST, largest)
    return ClassSet(dice, story, f"batch-{number + 1:03}", max(size, story.least))


def _later(sent: Sent, by: float) -> Sent:
    return Sent(sent.moment + by, sent.message, sent.reason, sent.parkable)


def _deliveries(dice: Dice, sent: Sequence[Sent]) -> Iterator[_Delivery]:
    for number, one in enumerate(sent, start=1):
        yield _Delivery(one, one.moment)
        if number % EVERY == 0:
            for moment in dice.some_of(COPIES, one.moment, one.moment + 1):
                yield _Delivery(one, moment)


def _poison(sent: Sequence[Sent], deliveries: Sequence[_Delivery]) -> Iterator[Poison]:
    for one in sent:
        if one.reason is not None:
            count = sum(delivery.sent is one for delivery in deliveries)
            yield Poison(one.message, one.reason, count, one.parkable)


def with_a_lie(traffic: Traffic) -> Traffic:
    """The same records, and one promise of an essay that nobody sends: the demo must notice."""
    first, *others = traffic.promises
    lie = replace(first, essay_ids=first.essay_ids | {"the-essay-that-the-dog-ate"})
    return replace(traffic, promises=(lie, *others))
