"""The only place that wires: settings, engine, intake, relay, agents, web, and Faust's application around them.

`app` is made when it is first asked for, so that importing this module needs neither settings nor servers;
`faust -A els_stream.app worker` asks for it, and so does `els worker`.
"""

from __future__ import annotations

import getpass
import importlib
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

import faust
from mode import loop
from prometheus_client import CollectorRegistry
from yarl import URL

from els_stream import web
from els_stream.backoff import Backoff
from els_stream.config.settings import Settings, load_settings
from els_stream.consumer.batch_loop import MicroBatchLimits
from els_stream.consumer.faust_app import BackgroundService, ElsApp, ElsWorker
from els_stream.consumer.partition_buffers import BufferLimits
from els_stream.consumer.service import ConsumerOptions, ConsumerService
from els_stream.db.engine import Limits, create_engine, pool_usage
from els_stream.db.startup import wait_for_database
from els_stream.embedded.discovery import resolve
from els_stream.embedded.servers import register_web
from els_stream.errors import ElsError
from els_stream.handlers.dead_letters import dead_letter_records
from els_stream.handlers.event_handler import DomainHandler
from els_stream.handlers.recount import RepairCounts
from els_stream.handlers.registry import HandlerPolicy, make_handlers
from els_stream.kafka.consumer_group import ConsumerGroup
from els_stream.maintenance.replay import Replays
from els_stream.maintenance.scheduler import TimerName, TimerPolicy, Timers
from els_stream.observability.health import Health
from els_stream.observability.health_poller import HealthPoller
from els_stream.observability.logging import configure_logging, logging_config
from els_stream.observability.metrics import Metrics
from els_stream.observability.record_log import log_fields
from els_stream.observability.tracing import Tracing
from els_stream.relay.factory import create_relay_engine, make_relay

Agent: TypeAlias = Callable[[ConsumerService, Mapping[str, DomainHandler]], Awaitable[None]]

Timer: TypeAlias = Callable[[Timers], Awaitable[None]]

AGENTS: Final = ("register_batch", "assign_content", "fail_content", "confirm_associations")
# Beyond what a broker may take to answer a member of a rebalancing group.
REQUEST_MARGIN_SECONDS: Final = 5.0
FAUST_WEB_PORT: Final = 6066


@dataclass(frozen=True, slots=True)
class Workload:
    """What a worker does: a handler and an agent for each name, and what runs by the clock; tests bring their own."""

    handlers: Mapping[str, DomainHandler]
    agents: Mapping[str, Agent]
    timers: Sequence[Timer] = ()
    repairs: RepairCounts = field(default_factory=RepairCounts)


def service_work(settings: Settings) -> Workload:
    """The agents by the list above: Faust's autodiscovery would only log one that can't be imported."""
    repairs = RepairCounts()
    handlers = make_handlers(HandlerPolicy.from_settings(settings), repairs)
    agents: dict[str, Agent] = {name: getattr(importlib.import_module(f"agents.{name}"), name) for name in AGENTS}
    if agents.keys() != handlers.keys():
        raise RuntimeError(f"agents {sorted(agents)} are not those of the handlers {sorted(handlers)}")
    timers: list[Timer] = [getattr(importlib.import_module(f"agents.{name}"), name) for name in TimerName]
    return Workload(handlers, agents, timers, repairs)


def build(settings: Settings, work: Workload, *, announce: Callable[[str], None]) -> ElsApp:
    """`announce` is told the web server's address, once it listens. Opens no connection."""
    engine = create_engine(
        settings.database, Limits.from_settings(settings), pool_size=settings.pool_size, name="els worker"
    )
    topics = {handler.name: handler.topic for handler in work.handlers.values()}
    metrics = Metrics(CollectorRegistry(), topics)
    tracing = Tracing.from_settings(settings)
    work = replace(work, handlers={name: tracing.wrap_handler(handler) for name, handler in work.handlers.items()})
    relay_engine = create_relay_engine(settings)
    relay = make_relay(settings, relay_engine, tracing.wrap_on_ack(metrics.record_acks))
    begin = partial(relay.begin, engine) if settings.relay_enabled else engine.begin
    intake = ConsumerService(engine, begin, intake_options(settings), dead_letter_records, metrics, log_fields)
    names = [settings.topic_prefix + topic for topic in topics.values()]
    group = ConsumerGroup(settings.broker, settings.consumer_group, names)
    watch = HealthPoller(engine, group, stats_interval=settings.stats_interval_seconds)
    timers = Timers(engine, TimerPolicy.from_settings(settings, work.repairs), metrics)

    app = ElsApp(**faust_options(settings))
    app.intake = intake
    app.prepare = partial(wait_for_database, engine)
    app.announce = announce
    app.any_web_port = settings.web_port == 0
    app.around = [BackgroundService(tasks=(), stop=end) for end in (engine.dispose, relay_engine.dispose, tracing.stop)]
    app.beside = [
        BackgroundService(tasks=(intake.keep_noting_what_is_caught_up, intake.keep_asking_for_ends), stop=nothing),
        BackgroundService(tasks=(watch.start,), stop=watch.stop),
        BackgroundService(tasks=[partial(timer, timers) for timer in work.timers], stop=nothing),
    ]
    if settings.relay_enabled:
        app.beside = [*app.beside, BackgroundService(tasks=(relay.start,), stop=relay.stop)]
        metrics.add_relay(relay.status)
        metrics.add_pool("relay", partial(pool_usage, relay_engine))
    subscribe(app, work, settings.topic_prefix)

    metrics.add_lag(intake.state.lag)
    metrics.add_pool("worker", partial(pool_usage, engine))
    metrics.add_repairs(work.repairs.counts)
    metrics.add_stats(watch.stats)
    health = Health(intake.state, watch, lambda: relay.status().errors, settings.liveness_stall_seconds)
    sources = web.DashboardSources(
        health, watch, intake.state, lambda: relay.status() if settings.relay_enabled else None
    )
    site = web.Dashboard(settings, sources, partial(Replays.from_settings, settings, work.handlers.values()))
    app.extend_web = site.extend
    app.beside = [*app.beside, BackgroundService(tasks=(site.start,), stop=site.stop)]
    web.register_probes(app, health, metrics)
    return app


def subscribe(app: ElsApp, work: Workload, topic_prefix: str) -> None:
    """As any Faust agents; what they iterate is the lane, not the stream."""
    for name, agent in work.agents.items():
        topic = app.topic(
            topic_prefix + work.handlers[name].topic,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
        )
        app.agent(topic, name=name, concurrency=1)(_body(app, agent, work.handlers))


def _body(app: ElsApp, agent: Agent, handlers: Mapping[str, DomainHandler]) -> Callable[[Any], Awaitable[None]]:
    async def body(_: faust.Stream[bytes]) -> None:
        await agent(app.intake, handlers)

    return body


async def nothing() -> None:
    return


def intake_options(settings: Settings) -> ConsumerOptions:
    return ConsumerOptions(
        consumer_group=settings.consumer_group,
        topic_prefix=settings.topic_prefix,
        lane=BufferLimits(settings.buffered_records_per_partition, settings.buffered_bytes_per_partition),
        micro_batch=MicroBatchLimits(
            settings.micro_batch_records, settings.micro_batch_bytes, settings.transactions_in_flight
        ),
        backoff=Backoff(settings.retry_initial_seconds, settings.retry_max_seconds),
    )


def faust_options(settings: Settings) -> dict[str, Any]:
    """Faust reads environment variables over these; under the prefix given here they are for emergencies.

    `ELS_FAUST_CONSUMER_GROUP_INSTANCE_ID`, different in each worker, makes membership static.
    """
    session = settings.session_timeout_seconds
    return {
        "id": settings.consumer_group,
        "env_prefix": "ELS_FAUST_",
        "broker": [URL(f"kafka://{address}") for address in settings.broker.split(",")],
        "broker_session_timeout": session,
        "broker_heartbeat_interval": settings.heartbeat_interval_seconds,
        "broker_rebalance_timeout": settings.rebalance_timeout_seconds,
        "broker_request_timeout": max(session, settings.rebalance_timeout_seconds) + REQUEST_MARGIN_SECONDS,
        "broker_commit_interval": settings.commit_interval_seconds,
        "consumer_metadata_max_age_ms": round(settings.metadata_max_age_seconds * 1000),
        "consumer_auto_offset_reset": "earliest",
        "autodiscover": False,
        "datadir": Path(tempfile.gettempdir(), f"els-faust-{getpass.getuser()}"),  # nothing is kept there
        "store": "memory://",
        "stream_wait_empty": False,
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "Worker": ElsWorker,
        "logging_config": logging_config(settings.log_level, settings.log_format),
        "worker_redirect_stdouts": False,
        **web.web_options(settings),
        # Faust takes no 0 here; ElsApp.any_web_port says it.
        "web_port": settings.web_port or FAUST_WEB_PORT,
    }


def announcing(settings: Settings, *, here: bool) -> Callable[[str], None]:
    """Workers on the servers of `els up` say where they answer, so that `els servers` can."""
    return partial(register_web, settings) if here else lambda _: None


def make(**overrides: object) -> ElsApp:
    """The service's application, from the environment with `overrides`. Raises ConfigurationError."""
    given = load_settings(**overrides)
    settings = resolve(given)
    configure_logging(settings.log_level, settings.log_format)
    choose_event_loop()
    return build(settings, service_work(settings), announce=announcing(settings, here=given.broker_url is None))


def choose_event_loop() -> None:
    """Before the application makes its first loop."""
    if sys.platform != "win32":
        loop.use("uvloop")


@cache
def __getattr__(name: str) -> ElsApp:
    if name != "app":
        raise AttributeError(name)
    try:
        return make()
    except ElsError as error:
        sys.stderr.write(f"els: {error}\n")
        raise SystemExit(error.exit_code) from None


def run_worker(app: ElsApp) -> NoReturn:
    """Until SIGTERM or Ctrl-C. Never returns: it ends the process."""
    ElsWorker(app, quiet=True, redirect_stdouts=False).execute_from_commandline()
