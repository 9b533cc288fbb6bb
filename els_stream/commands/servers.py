from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

import click

from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import load_settings
from els_stream.embedded import servers as embedded
from els_stream.embedded.cluster import Topology
from els_stream.errors import ServersMissing

BROKERS = click.Choice(["1", "3"])
SERVERS = click.Choice(["embedded", "containers"])


@click.command(epilog=exit_codes())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
@click.option("--servers", "kind", type=SERVERS, help="Run the servers from the venv, or in Docker.")
@click.option("--brokers", type=BROKERS, help="Run 1 or 3 brokers; of three, one may end.")
@click.option("--standby", is_flag=True, help="Give PostgreSQL a standby that has every commit.")
@click.option("--promote", is_flag=True, help="Have the standby take over; the primary becomes its standby.")
def up(*, kind: str | None, brokers: str | None, standby: bool, promote: bool, as_json: bool) -> None:
    """Start PostgreSQL and Kafka on this machine, in the background.

    Of a cluster it starts the servers that have ended. Without --brokers and --standby it is the cluster of the last
    time, until `els down`.

    Example: els up --brokers 3 --standby
    """
    settings = load_settings(**({} if kind is None else {"servers": kind}))
    topology = Topology(int(brokers or 1), standby) if brokers or standby else None
    if promote:
        asyncio.run(embedded.promote(settings))
    _print(asyncio.run(embedded.up(settings, topology=topology)), as_json=as_json)


@click.command(epilog=exit_codes())
@click.option("--remove-data", is_flag=True, help="Also delete their data.")
def down(*, remove_data: bool) -> None:
    """Stop the servers that `els up` started.

    Example: els down --remove-data
    """
    asyncio.run(embedded.down(load_settings(), remove_data=remove_data))


@click.command(epilog=exit_codes())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def servers(*, as_json: bool) -> None:
    """Print the addresses of the running servers.

    The address of the database contains its password: the output is for programs that connect.

    Example: els servers --json
    """
    found = embedded.addresses(load_settings())
    if found is None:
        raise ServersMissing("no servers are running on this machine: start them with `els up`")
    _print(found, as_json=as_json)


def _print(found: embedded.Addresses, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
        return
    for name, address in asdict(found).items():
        click.echo(f"{name:<13} {address or '-'}")
