from __future__ import annotations

import subprocess
import sys

from els_stream.app import AGENTS, TIMERS, build, service_work
from els_stream.config.settings import load_settings
from els_stream.maintenance.scheduler import TimerName


def test_every_handler_has_an_agent_and_every_timer_is_started() -> None:
    work = service_work(load_settings())

    assert set(work.handlers) == set(work.agents) == set(AGENTS)
    assert list(work.timers) == list(TIMERS.values())
    assert set(TIMERS) == set(TimerName)


def test_agents_and_timers_have_the_names_of_their_functions() -> None:
    named: list[tuple[str, object]] = [*AGENTS.items(), *TIMERS.items()]

    assert [getattr(function, "__name__", None) for _, function in named] == [str(name) for name, _ in named]


async def test_a_worker_is_wired_without_a_connection() -> None:
    settings = load_settings(broker_url="localhost:1", database_url="postgresql://els@localhost:1/els")

    app = build(settings, service_work(settings), on_listening=lambda _: None)

    assert {agent.rpartition(".")[2] for agent in app.agents} == set(AGENTS)


async def test_the_partitions_of_a_worker_whose_loop_is_blocked_move_within_a_minute() -> None:
    settings = load_settings(broker_url="localhost:1", database_url="postgresql://els@localhost:1/els")

    conf = build(settings, service_work(settings), on_listening=lambda _: None).conf

    assert conf.broker_max_poll_interval + conf.broker_heartbeat_interval + conf.broker_session_timeout < 60


def test_a_worker_imports_nothing_that_only_a_migration_needs() -> None:
    """Alembic and what it imports take 7 MiB."""
    script = """
import sys
import els_stream.app, els_stream.commands.worker
from els_stream.db.schema import revisions
revisions()
print(*sys.modules)
"""

    imported = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()

    assert "els_stream.web.dashboard" in imported
    assert not {"alembic", "mako"} & set(imported)
