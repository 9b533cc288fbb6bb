"""Records that fail alone, and a release under which all records fail."""

from __future__ import annotations

from functools import partial

from tests.support.consumer_testbed import ConsumerTestbed

PAUSED = "is paused for"
GOOD = [f"record {number}" for number in range(300)]


async def test_poison_between_good_records_is_dead_lettered(testbed: ConsumerTestbed, in_flight: int) -> None:
    await testbed.produce([*GOOD, "bug 1", "bug 2", *GOOD, "refuse", *GOOD])
    worker = testbed.start(transactions_in_flight=in_flight, micro_batch_records=100)
    await testbed.all_processed_once(but=3)
    assert await testbed.dead_letters() == {
        "bug 1": "unprocessable",
        "bug 2": "unprocessable",
        "refuse": "database_refused",
    }
    await testbed.ready(worker)


async def test_a_bad_release_dead_letters_nothing_after_restarts(testbed: ConsumerTestbed) -> None:
    await testbed.produce(GOOD)
    for _ in range(2):
        worker = testbed.start(faults={"bad": True})
        await testbed.until(partial(testbed.has_code, worker, "partition_paused"), 20)
        await worker.kill()
    assert await testbed.dead_letters() == {}
    assert await testbed.stored_offsets() == dict.fromkeys(await testbed.ends(), 0)
    testbed.start()
    await testbed.all_processed_once()


async def test_poison_at_the_end_waits_until_other_records_pass_before_and_after_it(testbed: ConsumerTestbed) -> None:
    worker = testbed.start()
    await testbed.produce(["fine", "bug"], partition=0)
    await testbed.until(lambda: testbed.has_code(worker, "partition_paused"), 20)
    assert (await worker.get("/livez"))[0] == 200
    assert await testbed.dead_letters() == {}
    await testbed.produce(["another"], partition=1)
    await testbed.wait_for_effects(2)
    pauses = testbed.log().count(PAUSED)

    async def paused_again() -> bool:
        return testbed.log().count(PAUSED) >= pauses + 2

    await testbed.until(paused_again, 20)
    assert await testbed.dead_letters() == {}
    await testbed.produce(["one more"], partition=1)
    await testbed.all_processed_once(but=1)
    assert await testbed.dead_letters() == {"bug": "unprocessable"}
    await testbed.ready(worker)


async def test_a_record_whose_statement_times_out_is_paused_alone(testbed: ConsumerTestbed) -> None:
    worker = testbed.start(statement_timeout_seconds=0.3)
    await testbed.produce(["slow"], partition=0)
    await testbed.produce(GOOD[:20], partition=1)
    await testbed.wait_for_effects(20)
    await testbed.until(lambda: testbed.has_code(worker, "partition_paused"), 20)
    assert await testbed.dead_letters() == {}
    assert await testbed.count() == 20
