"""What happens to records that fail by themselves, and to all of them under a bad release."""

from __future__ import annotations

from functools import partial

from tests.support.consumer_testbed import ConsumerTestbed

GOOD = [f"record {number}" for number in range(300)]


async def test_poison_between_good_records_is_buried_and_the_rest_done(bed: ConsumerTestbed, in_flight: int) -> None:
    await bed.produce([*GOOD, "bug 1", "bug 2", *GOOD, "refuse", *GOOD])
    worker = bed.start(transactions_in_flight=in_flight, micro_batch_records=100)
    await bed.all_done_once(but=3)
    assert await bed.buried() == {"bug 1": "unprocessable", "bug 2": "unprocessable", "refuse": "database_refused"}
    await bed.ready(worker)


async def test_a_bad_release_buries_nothing_however_often_it_restarts(bed: ConsumerTestbed) -> None:
    await bed.produce(GOOD)
    for _ in range(2):
        worker = bed.start(faults={"bad": True})
        await bed.until(partial(bed.says, worker, "partition_paused"), 20)
        await worker.kill()
    assert await bed.buried() == {}
    assert await bed.ledger() == dict.fromkeys(await bed.ends(), 0)
    bed.start()
    await bed.all_done_once()


async def test_a_suspect_at_the_end_is_held_until_another_record_passes(bed: ConsumerTestbed) -> None:
    worker = bed.start()
    await bed.produce(["fine", "bug"], partition=0)
    await bed.until(lambda: bed.says(worker, "partition_paused"), 20)
    assert (await worker.get("/livez"))[0] == 200
    assert await bed.buried() == {}
    await bed.produce(["another"], partition=1)
    await bed.all_done_once(but=1)
    assert await bed.buried() == {"bug": "unprocessable"}
    await bed.ready(worker)


async def test_a_record_whose_statement_always_takes_too_long_is_held_alone(bed: ConsumerTestbed) -> None:
    worker = bed.start(statement_timeout_seconds=0.3)
    await bed.produce(["slow"], partition=0)
    await bed.produce(GOOD[:20], partition=1)
    await bed.handled(20)
    await bed.until(lambda: bed.says(worker, "partition_paused"), 20)
    assert await bed.buried() == {}
    assert await bed.count() == 20
