"""Runs the demo and removes what it started or created, also on Ctrl-C and after an error."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError
from sqlalchemy.exc import SQLAlchemyError

from els_stream.demo.check import differences
from els_stream.demo.driver import MAX_IDLE_SECONDS, Counts, Driver
from els_stream.demo.environment import demo_environment
from els_stream.demo.observations import Observations
from els_stream.demo.output_consumer import consume_outputs
from els_stream.demo.secure_servers import secure_servers
from els_stream.demo.workers import running_workers
from els_stream.embedded.servers import running
from els_stream.errors import DemoFailed, ServersUnavailable
from els_stream.verify.runner import verify

if TYPE_CHECKING:
    from els_stream.config.settings import Settings
    from els_stream.demo.console import DemoConsole
    from els_stream.demo.expectations import Traffic
    from els_stream.embedded.servers import Addresses

WORKERS: Final = 2


async def demo(settings: Settings, traffic: Traffic, console: DemoConsole, *, secure: bool = False) -> None:
    """Send the traffic through two workers and check the output; print each difference, then raise DemoFailed.

    With `secure`, servers of this demo are started that speak TLS and want a login.
    """
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
            await _run(settings, found, traffic, console)
        except (KafkaError, SQLAlchemyError, OSError) as error:
            if isinstance(error, OSError) and error.filename:
                raise
            raise ServersUnavailable(f"the demo lost its servers: {error}") from error


async def _run(settings: Settings, found: Addresses, traffic: Traffic, console: DemoConsole) -> None:
    observations = Observations()
    async with contextlib.AsyncExitStack() as end:
        with console.step("database, topics and consumer group of this demo"):
            here = await end.enter_async_context(demo_environment(settings, found))
        with console.step(f"{WORKERS} workers"):
            workers = await end.enter_async_context(running_workers(here, WORKERS))
        for worker in workers:
            console.print_line(f"  page {worker.web}/, log {worker.log}")
        outputs = await end.enter_async_context(consume_outputs(here, observations))
        driver = Driver(here, traffic, observations, Counts())
        with console.step("all records sent and handled, all events published"), console.progress(traffic) as show:
            done = await driver.run(outputs, workers, show)
        _report(traffic, observations, console, done=done)
        await _verify(here, console)
        console.print_line(f"`make run` keeps a worker, with its page at http://{here.web_host}:{here.web_port}/.")


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
