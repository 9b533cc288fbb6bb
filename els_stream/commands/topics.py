from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Final, assert_never

import click

from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import Settings, load_settings
from els_stream.embedded.discovery import resolve
from els_stream.kafka.topics import Created, Different, Present, TopicState, ensure_topics

HARMFUL: Final = 1


@click.command(epilog=exit_codes({HARMFUL: "a topic differs in a way that does harm"}))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per topic, for scripts.")
def topics(*, as_json: bool) -> None:
    """Create the topics that are missing.

    An existing topic is not changed; differences from the intended configuration are printed, and what to do about
    those that do harm. No other command and no worker creates topics, also where the broker would create them.

    Example: els topics
    """
    states = asyncio.run(ensure(resolve(load_settings())))
    for state in states:
        body = {"state": type(state).__name__.lower(), **asdict(state)}
        click.echo(json.dumps(body) if as_json else _line(state))
    if any(isinstance(state, Different) and state.harms for state in states):
        raise SystemExit(HARMFUL)


async def ensure(settings: Settings) -> list[TopicState]:
    """Create the missing topics of these settings; return the state of all."""
    return await ensure_topics(
        settings.broker, settings.topic_prefix, settings.topic_partitions, settings.topic_replication_factor
    )


def _line(state: TopicState) -> str:
    match state:
        case Created(topic):
            return f"created    {topic}"
        case Present(topic):
            return f"present    {topic}"
        case Different(topic, differences, harms):
            return "\n           ".join([f"different  {topic}: {'; '.join(differences)}", *harms])
        case unreachable:
            assert_never(unreachable)
