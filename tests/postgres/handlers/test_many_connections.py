"""Many connections process everything twice in random order; the totals are checked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from zlib import crc32

import pytest
from sqlalchemy.exc import DBAPIError

from els_stream.db.errors import FailureClass, classify
from els_stream.events.records import RawRecord
from tests.support.batch_harness import BatchHarness

CLASS = "class-9b"
CONNECTIONS = 24
BATCHES = [f"class-set-{number}" for number in range(16)]
SLOTS, CONTENTS, FAILURES = 12, 12, 2  # two more than the slots, so that two per batch find none


def term(harness: BatchHarness) -> list[RawRecord]:
    records = []
    for number, batch_id in enumerate(BATCHES):
        class_id = CLASS if number % 2 else None
        records += [harness.registration(batch_id, SLOTS, class_id=class_id)] * 2
        records += [harness.content(n, batch_id) for n in range(CONTENTS) for _ in range(2)]
        records += [harness.failure(CONTENTS + n, batch_id) for n in range(FAILURES) for _ in range(2)]
        if class_id:
            records += [harness.associations(SLOTS, batch_id)] * 2
    return records


def drawn(seed: int, number: int) -> int:
    """Return a random number that is the same in every run."""
    return crc32(f"{seed}/{number}".encode())


def shuffled(records: list[RawRecord], seed: int) -> list[RawRecord]:
    return [record for _, record in sorted(enumerate(records), key=lambda pair: drawn(seed, pair[0]))]


async def deliver(harness: BatchHarness, records: Sequence[RawRecord]) -> list[str]:
    """Apply the records as the consumer does, again after a transient error."""
    while True:
        try:
            return await harness.together(*records)
        except DBAPIError as error:
            if classify(error).failure_class is not FailureClass.TRANSIENT:
                raise


@pytest.mark.parametrize("seed", range(3))
async def test_many_connections_at_once_leave_every_count_right(harness: BatchHarness, seed: int) -> None:
    records = shuffled(term(harness), seed)
    labels: Counter[str] = Counter()

    async def connection(share: list[RawRecord]) -> None:
        while share:
            size = drawn(seed, len(share)) % 12 + 1
            taken, share = share[:size], share[size:]
            for _, group in groupby(sorted(taken, key=lambda record: record.topic), key=lambda record: record.topic):
                labels.update(await deliver(harness, list(group)))

    await asyncio.gather(*(connection(records[start::CONNECTIONS]) for start in range(CONNECTIONS)))

    assert labels["registered"] == labels["already_registered"] == len(BATCHES)
    states = await harness.rows("SELECT state, free_count FROM batch_essay_trackers")
    assert {tuple(row) for row in states} == {("completed", 0)}
    kinds = Counter(event.kind for event in await harness.outbox_events())
    assert kinds["completed"] == len(BATCHES)
    assert kinds["ready"] == len(BATCHES) / 2
    assert kinds["assigned"] + kinds["excess"] == CONTENTS * len(BATCHES)
    assert kinds["dead letter"] == 0
