"""Runs the demo and removes what it started or created, also on Ctrl-C and after an error."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError
from sqlalchemy.exc import SQLAlchemyError

from els_stream.demo.check import differences
from els_stream.demo.driver import MAX_IDLE_SECONDS, Counts, Driver, total
from els_stream.demo.environment import demo_environment
from els_stream.demo.observations import Observations
from els_stream.demo.output_consumer import OutputConsumer, consume_outputs
from els_stream.demo.secure_servers import secure_servers
from els_stream.demo.workers import DemoWorker, running_workers
from els_stream.embedded.servers import running
from els_stream.errors import DemoFailed, ServersUnavailable
from els_stream.verify.runner import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from els_stream.config.settings import Settings
    from els_stream.demo.console import DemoConsole
    from els_stream.demo.expectations import Traffic
    from els_stream.embedded.servers import Addresses

WORKERS: Final = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """A deployment with a database, topics, a consumer group and workers of its own."""

    driver: Driver
    outputs: OutputConsumer
    workers: Sequence[DemoWorker]

    async def run(self, show: Callable[[], None]) -> bool:
        return await self.driver.run(self.outputs, self.workers, lambda _: show())


async def demo(settings: Settings, cells: Sequence[Traffic], console: DemoConsole, *, secure: bool = False) -> None:
    """Send the traffic of each cell through its workers and check its output.

    Prints each difference, then raises DemoFailed. With `secure`, servers of this demo are started that speak TLS and
    want a login.
    """
    for traffic in cells:
        console.print_line(
            f"seed {traffic.seed}: {len(traffic.expectations)} class sets in {len(traffic.messages)} records"
        )
    async with contextlib.AsyncExitStack() as end:
        if secure:
            with console.step("PostgreSQL with TLS, Kafka with TLS and SCRAM"):
                settings, found = await end.enter_async_context(secure_servers(settings))
        else:
            with console.step("PostgreSQL and Kafka"):
                found = await end.enter_async_context(running(settings))
        try:
            await _run(settings, found, cells, console)
        except (KafkaError, SQLAlchemyError, OSError) as error:
            if isinstance(error, OSError) and error.filename:
                raise
            raise ServersUnavailable(f"the demo lost its servers: {error}") from error


async def _run(settings: Settings, found: Addresses, traffics: Sequence[Traffic], console: DemoConsole) -> None:
    each = max(1, WORKERS // len(traffics))
    of_each = "this demo" if len(traffics) == 1 else f"each of {len(traffics)} cells"
    async with contextlib.AsyncExitStack() as end:
        with console.step(f"database, topics and consumer group of {of_each}"):
            places = [await end.enter_async_context(demo_environment(settings, found)) for _ in traffics]
        with console.step(f"{each * len(traffics)} workers"):
            teams = [await end.enter_async_context(running_workers(here, each)) for here in places]
        cells: list[Cell] = []
        for here, workers, traffic in zip(places, teams, traffics, strict=True):
            for worker in workers:
                console.print_line(f"  page {worker.web}/, log {worker.log}")
            observations = Observations()
            outputs = await end.enter_async_context(consume_outputs(here, observations))
            cells.append(Cell(Driver(here, traffic, observations, Counts()), outputs, workers))
        with console.step("all records sent and handled, all events published"):
            done = await _drive(cells, console)
        for cell in cells:
            await _check(cell, console, named=len(cells) > 1, done=done)
        console.print_line(
            f"`make run` keeps a worker, with its page at http://{settings.web_host}:{settings.web_port}/."
        )


async def _drive(cells: Sequence[Cell], console: DemoConsole) -> bool:
    """Drive all cells at the same time; return whether each handled and published everything."""
    with console.progress([cell.driver.traffic for cell in cells]) as show:
        tasks = [
            asyncio.create_task(cell.run(lambda: show(total(one.driver.counts for one in cells)))) for cell in cells
        ]
        try:
            return all(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _check(cell: Cell, console: DemoConsole, *, named: bool, done: bool) -> None:
    driver = cell.driver
    if named:
        console.print_line(f"\ncell {driver.settings.topic_prefix.removesuffix('.')}, seed {driver.traffic.seed}")
    _report(driver.traffic, driver.observations, console, done=done)
    await _verify(driver.settings, console)


async def _verify(settings: Settings, console: DemoConsole) -> None:
    """Run and print the checks of `els verify --kafka`; raise DemoFailed if an invariant is violated."""
    console.print_line("")
    violated = 0
    async for finding in verify(settings, kafka=True):
        violated += finding.violated
        console.print_line(str(finding))
    if violated:
        raise DemoFailed(f"{violated} violated invariants")


def _report(traffic: Traffic, observations: Observations, console: DemoConsole, *, done: bool) -> None:
    console.tables(traffic, observations)
    found = differences(traffic, observations)
    for line in found:
        console.print_line(f"difference: {line}")
    if not done:
        raise DemoFailed(f"no progress for {MAX_IDLE_SECONDS:.0f} s, and not all records were handled")
    if found:
        raise DemoFailed(f"{len(found)} differences between the output and the expected events")
    console.print_line(
        "The output is as expected: each slot once, each batch once, each excess content as it was sent."
    )
