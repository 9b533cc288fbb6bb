"""Wires a worker: settings, engine, consumer, relay, agents, timers, web, and Faust's application around them.

The attribute `app` is made when it is first read, so that importing this module needs neither settings nor servers;
`faust -A els_stream.app worker` reads it. `els worker` calls `make` instead, to pass its options.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

import faust
from mode import loop
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from agents.assign_content import assign_content
from agents.compact_counts import compact_counts
from agents.confirm_associations import confirm_associations
from agents.delete_old_dead_letters import delete_old_dead_letters
from agents.expire_batches import expire_batches
from agents.expire_pending_events import expire_pending_events
from agents.fail_content import fail_content
from agents.purge_guests import purge_guests
from agents.register_batch import register_batch
from agents.repair_batches import repair_batches
from els_stream import log_writer, web
from els_stream.config.settings import Settings, load_settings
from els_stream.consumer.faust_app import BackgroundService, ElsApp, ElsWorker, NoTables, WorkerServices
from els_stream.consumer.service import ConsumerOptions, ConsumerService
from els_stream.db.engine import Limits, create_engine, pool_usage
from els_stream.db.startup import wait_for_database
from els_stream.embedded.discovery import resolve
from els_stream.embedded.servers import register_web
from els_stream.errors import ElsError
from els_stream.events.topics import DEAD_LETTER, OUTPUT_TOPICS
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
from els_stream.web.listening import require_web_address
from tables import metadata

Agent: TypeAlias = Callable[[ConsumerService, Mapping[str, DomainHandler]], Awaitable[None]]
Timer: TypeAlias = Callable[[Timers], Awaitable[None]]

AGENTS: Final[Mapping[str, Agent]] = {
    "register_batch": register_batch,
    "assign_content": assign_content,
    "fail_content": fail_content,
    "confirm_associations": confirm_associations,
}
TIMERS: Final[Mapping[TimerName, Timer]] = {
    TimerName.EXPIRE_BATCHES: expire_batches,
    TimerName.EXPIRE_PENDING_EVENTS: expire_pending_events,
    TimerName.REPAIR_BATCHES: repair_batches,
    TimerName.DELETE_OLD_DEAD_LETTERS: delete_old_dead_letters,
    TimerName.PURGE_GUESTS: purge_guests,
    TimerName.COMPACT_COUNTS: compact_counts,
}
# Added to the longest time that a broker may take to answer a member of a rebalancing group.
REQUEST_MARGIN_SECONDS: Final = 5.0
# After this time without an answer of its event loop a worker leaves the group; its partitions go to the others.
MAX_POLL_INTERVAL_SECONDS: Final = 30.0
FAUST_WEB_PORT: Final = 6066
# Faust wants the path of a folder, and makes and stores nothing in it: there are no tables.
NO_FOLDER: Final = Path("/nonexistent/els-faust")


@dataclass(frozen=True, slots=True)
class Workload:
    """The work of a worker: a handler and an agent for each name, and timers. Tests pass their own."""

    handlers: Mapping[str, DomainHandler]
    agents: Mapping[str, Agent]
    timers: Sequence[Timer] = ()
    repairs: RepairCounts = field(default_factory=RepairCounts)


def service_work(settings: Settings) -> Workload:
    """Return the service's own workload."""
    repairs = RepairCounts()
    handlers = make_handlers(HandlerPolicy.from_settings(settings), repairs)
    return Workload(handlers, AGENTS, list(TIMERS.values()), repairs)


def build(settings: Settings, work: Workload, *, on_listening: Callable[[str], None]) -> ElsApp:
    """Wire a worker; opens no connection. `on_listening` gets the web server's address once it listens."""
    engine = create_engine(
        lambda: settings.database, Limits.from_settings(settings), pool_size=settings.pool_size, name="els worker"
    )
    topics = {handler.name: handler.topic for handler in work.handlers.values()}
    metrics = Metrics(CollectorRegistry(), topics)
    tracing = Tracing.from_settings(settings)
    work = replace(work, handlers={name: tracing.wrap_handler(handler) for name, handler in work.handlers.items()})
    relay_engine = create_relay_engine(settings)
    relay = make_relay(settings, relay_engine, tracing.wrap_on_ack(metrics.record_acks))
    begin = partial(relay.begin, engine) if settings.relay_enabled else engine.begin
    consumer = ConsumerService(
        engine, begin, ConsumerOptions.from_settings(settings), dead_letter_records, metrics, log_fields
    )
    group = consumer_group(settings, topics.values())
    poller = HealthPoller(
        engine, group, member_id=consumer.status.member_id, stats_interval=settings.stats_interval_seconds
    )
    timers = Timers(engine, TimerPolicy.from_settings(settings, work.repairs), metrics)
    health = Health(consumer.status, poller, lambda: relay.status().errors, settings.liveness_stall_seconds)
    sources = web.DashboardSources(
        health, poller, consumer.status, lambda: relay.status() if settings.relay_enabled else None
    )
    dashboard = web.Dashboard(settings, sources, partial(Replays.from_settings, settings, work.handlers.values()))

    inner = [
        BackgroundService(tasks=(consumer.refresh_end_offsets,), stop=noop),
        BackgroundService(tasks=(poller.start,), stop=poller.stop),
        BackgroundService(tasks=[partial(timer, timers) for timer in work.timers], stop=noop),
    ]
    if settings.relay_enabled:
        inner.append(BackgroundService(tasks=(relay.start,), stop=relay.stop))
        metrics.add_relay(relay.status)
        metrics.add_pool("relay", partial(pool_usage, relay_engine))
    inner.append(BackgroundService(tasks=(dashboard.start,), stop=dashboard.stop))
    metrics.add_health(health.codes)
    metrics.add_lag(consumer.status.lag)
    metrics.add_pool("worker", partial(pool_usage, engine))
    metrics.add_repairs(work.repairs.counts)
    metrics.add_spans(tracing.given_up)
    metrics.add_log_lines(lambda: log_writer.stderr.dropped)
    metrics.add_stats(poller.stats)
    services = WorkerServices(
        consumer=consumer,
        broker=settings.broker,
        prepare=partial(prepare, settings, engine),
        on_listening=on_listening,
        extend_web=dashboard.extend,
        any_web_port=settings.web_port == 0,
        outer_services=[
            BackgroundService(tasks=(), stop=close) for close in (engine.dispose, relay_engine.dispose, tracing.stop)
        ],
        inner_services=inner,
    )
    app = ElsApp(services, **faust_options(settings))
    subscribe(app, work, settings.topic_prefix)
    web.register_probes(app, health, metrics)
    return app


def consumer_group(settings: Settings, inputs: Iterable[str]) -> ConsumerGroup:
    """Return the group with its topics, and with those that the relay of this worker writes."""
    outputs = (*OUTPUT_TOPICS, DEAD_LETTER) if settings.relay_enabled else ()
    names = [[settings.topic_prefix + topic for topic in topics] for topics in (inputs, outputs)]
    return ConsumerGroup(settings.broker, settings.consumer_group, *names)


async def prepare(settings: Settings, engine: AsyncEngine) -> None:
    """Check what the worker can't run without, and wait for the database. Raises ConfigurationError."""
    require_web_address(settings)
    await wait_for_database(engine, list(metadata.tables))


def subscribe(app: ElsApp, work: Workload, topic_prefix: str) -> None:
    """Subscribe the agents as Faust agents, which take records from the buffers and not from Faust's stream."""
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
        await agent(app.services.consumer, handlers)

    return body


async def noop() -> None:
    """Do nothing, as the `stop` of a service that has nothing to close."""


def faust_options(settings: Settings) -> dict[str, Any]:
    """Return Faust's options. Environment variables with the prefix ELS_FAUST_ override them, for emergencies.

    `ELS_FAUST_CONSUMER_GROUP_INSTANCE_ID`, different in each worker, makes membership static.
    """
    session = settings.session_timeout_seconds
    return {
        "id": settings.consumer_group,
        "env_prefix": "ELS_FAUST_",
        "broker": [URL(f"kafka://{address}") for address in settings.broker.servers.split(",")],
        "broker_session_timeout": session,
        "broker_heartbeat_interval": settings.heartbeat_interval_seconds,
        "broker_rebalance_timeout": settings.rebalance_timeout_seconds,
        "broker_request_timeout": max(session, settings.rebalance_timeout_seconds) + REQUEST_MARGIN_SECONDS,
        "broker_max_poll_interval": MAX_POLL_INTERVAL_SECONDS,
        "broker_commit_interval": settings.commit_interval_seconds,
        "consumer_metadata_max_age_ms": round(settings.metadata_max_age_seconds * 1000),
        "consumer_auto_offset_reset": "earliest",
        "autodiscover": False,
        "datadir": NO_FOLDER,
        "store": "memory://",
        "stream_wait_empty": False,
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "TableManager": NoTables,
        "Worker": ElsWorker,
        "logging_config": logging_config(settings.log_level, settings.log_format, log_writer.stderr),
        "worker_redirect_stdouts": False,
        **web.web_options(settings),
        # Faust accepts no 0 here; WorkerServices.any_web_port stands for it.
        "web_port": settings.web_port or FAUST_WEB_PORT,
    }


def address_listener(settings: Settings, *, embedded: bool) -> Callable[[str], None]:
    """Return the callback for the worker's web address: with servers of `els up`, `els servers` prints the address."""
    return partial(register_web, settings) if embedded else lambda _: None


def make(**overrides: object) -> ElsApp:
    """Make the service's application from the environment and `overrides`. Raises ConfigurationError."""
    given = load_settings(**overrides)
    settings = resolve(given)
    configure_logging(settings.log_level, settings.log_format, log_writer.stderr)
    choose_event_loop()
    return build(
        settings, service_work(settings), on_listening=address_listener(settings, embedded=given.broker_url is None)
    )


def choose_event_loop() -> None:
    """Choose uvloop where it exists. Call this before the application makes its first event loop."""
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
    """Run until SIGTERM or Ctrl-C, then end the process."""
    ElsWorker(app, quiet=True, redirect_stdouts=False).execute_from_commandline()
