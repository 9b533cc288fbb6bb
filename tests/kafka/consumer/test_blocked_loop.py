"""A worker whose event loop is blocked leaves its partitions to others, and a log that no one reads blocks none."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.consumer_testbed import ConsumerTestbed
from tests.support.effects_worker_process import EffectsWorkerProcess
from tests.support.waiting import until

SOME = [f"record {number}" for number in range(300)]


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """Yield both ends of a pipe to which nothing more can be written."""
    read_end, write_end = os.pipe()
    try:
        os.set_blocking(write_end, False)
        fill(write_end)
        os.set_blocking(write_end, True)
        yield read_end, write_end
    finally:
        os.close(read_end)
        os.close(write_end)


def fill(descriptor: int) -> None:
    try:
        while True:
            os.write(descriptor, b"x")
    except BlockingIOError:
        return


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"ELS_FAUST_BROKER_MAX_POLL_INTERVAL": "4"}, id="within seconds"),
        pytest.param({}, id="by default within a minute", marks=pytest.mark.long),
    ],
)
async def test_a_worker_whose_loop_is_blocked_loses_its_partitions(
    testbed: ConsumerTestbed, tmp_path: Path, settings: dict[str, str]
) -> None:
    """The thread of the Kafka client goes on meanwhile; it must not keep the partitions by its heartbeats."""
    lock = tmp_path / "lock"
    testbed.settings |= settings
    async with testbed.streaming():
        blocked = testbed.start(faults={"blocking_lock": str(lock)}, micro_batch_records=20)
        other = testbed.start(micro_batch_records=20)
        await testbed.ready(blocked)
        await testbed.ready(other)
        await testbed.progress(500)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            blocked.signal(signal.SIGHUP)
            await testbed.taken_over(within=60)
            assert await blocked.codes() == {"down"}
        await testbed.ready(blocked)
        await testbed.ready(other)
        await testbed.until(lambda: owns_a_partition(blocked), 20)
    await testbed.all_processed_once()
    logged = blocked.log.read_text()
    assert "the event loop is blocked, no record is processed: block (" in logged
    assert "the event loop goes on; it was blocked for" in logged
    assert 'els_consumer_events_total{event="loop_blocked"} 1.0' in await blocked.metrics()


async def owns_a_partition(worker: EffectsWorkerProcess) -> bool:
    return "els_lag_records{" in await worker.metrics()


async def test_a_worker_whose_log_no_one_reads_goes_on_and_stops(testbed: ConsumerTestbed) -> None:
    with full_pipe() as (_, write_end):
        testbed.output = write_end
        worker = testbed.start(log_level="debug")
        await testbed.produce(SOME)
        await testbed.all_processed_once()
        await testbed.ready(worker)
        await worker.stop()
        assert worker.process.returncode == 0


async def test_lines_that_wait_for_a_reader_are_written_when_there_is_one(testbed: ConsumerTestbed) -> None:
    with full_pipe() as (read_end, write_end):
        testbed.output = write_end
        worker = testbed.start()
        await testbed.ready(worker)
        os.set_blocking(read_end, False)
        seen = bytearray()

        def logged() -> bool:
            try:
                seen.extend(os.read(read_end, 65_536))
            except BlockingIOError:
                return False
            return b"web server listens on" in seen

        await until(logged)
        await worker.stop()
