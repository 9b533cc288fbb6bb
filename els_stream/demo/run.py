"""The demo from the first server to the last line: what it starts it ends, also on Ctrl-C and after a failure."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError
from sqlalchemy.exc import SQLAlchemyError

from els_stream.demo.check import differences
from els_stream.demo.driver import PATIENCE_SECONDS, Counts, Driver
from els_stream.demo.environment import stage
from els_stream.demo.observations import Observations
from els_stream.demo.output_consumer import audience
from els_stream.demo.workers import workers
from els_stream.embedded.servers import running
from els_stream.errors import DemoFailed, ServersUnavailable
from els_stream.verify.runner import verify

if TYPE_CHECKING:
    from els_stream.config.settings import Settings
    from els_stream.demo.console import DemoConsole
    from els_stream.demo.expectations import Traffic
    from els_stream.embedded.servers import Addresses

WORKERS: Final = 2


async def demo(settings: Settings, traffic: Traffic, screen: DemoConsole) -> None:
    """Raises DemoFailed, every difference printed, unless what came out is what must come of the traffic."""
    screen.say(f"seed {traffic.seed}: {len(traffic.promises)} class sets in {len(traffic.messages)} records")
    async with contextlib.AsyncExitStack() as end:
        with screen.step("PostgreSQL and Kafka"):
            found = await end.enter_async_context(running(settings))
        try:
            await _perform(settings, found, traffic, screen)
        except (KafkaError, SQLAlchemyError, OSError) as error:
            raise ServersUnavailable(f"the demo lost its servers: {error}") from error


async def _perform(settings: Settings, found: Addresses, traffic: Traffic, screen: DemoConsole) -> None:
    transcript = Observations()
    async with contextlib.AsyncExitStack() as end:
        with screen.step("a database, topics and a group of its own"):
            here = await end.enter_async_context(stage(settings, found))
        with screen.step(f"{WORKERS} workers"):
            crew = await end.enter_async_context(workers(here, WORKERS))
        for worker in crew:
            screen.say(f"  {worker.web}/ is its page; log {worker.log}")
        heard = await end.enter_async_context(audience(here, transcript))
        performance = Driver(here, traffic, transcript, Counts())
        with screen.step("all records sent, handled and told of"), screen.progress(traffic) as show:
            done = await performance.run(heard, crew, show)
        _judge(traffic, transcript, screen, done=done)
        await _prove(here, screen)
        screen.say(f"`make run` keeps a worker, with its page at http://{here.web_host}:{here.web_port}/.")


async def _prove(settings: Settings, screen: DemoConsole) -> None:
    """What `els verify --kafka` does."""
    screen.say("")
    violated = 0
    async for finding in verify(settings, kafka=True):
        violated += finding.violated
        screen.say(str(finding))
    if violated:
        raise DemoFailed(f"{violated} violations of what must always hold")


def _judge(traffic: Traffic, transcript: Observations, screen: DemoConsole, *, done: bool) -> None:
    screen.tables(traffic, transcript)
    found = differences(traffic, transcript)
    for line in found:
        screen.say(f"difference: {line}")
    if not done:
        raise DemoFailed(f"nothing moved for {PATIENCE_SECONDS:.0f} s, and not all was handled")
    if found:
        raise DemoFailed(f"what came out is not what must come, in {len(found)} lines")
    screen.say("All that came out is what must come: each slot once, each batch once, each surplus as it was sent.")
