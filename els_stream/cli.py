"""The command `els`. Only the command that runs is imported, so `els --help` answers at once."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

import click
from click.shell_completion import CompletionItem

from els_stream.errors import ElsError
from els_stream.version import VERSION


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, as module:function, and its line in the help."""

    target: str
    help: str


HELP = """\
Usage: els COMMAND [OPTIONS]     `els COMMAND --help` has more, with an example.

Gives every uploaded essay one slot. Settings: `els settings --explain`.
Exit codes: 0 done; 1 not all is well; 2 wrong setting or option; 3 no server.
"""

ENTRIES = {
    "up": Entry("els_stream.commands.servers:up", "Start PostgreSQL and Kafka here, and leave them running."),
    "down": Entry("els_stream.commands.servers:down", "Stop what `els up` started."),
    "servers": Entry("els_stream.commands.servers:servers", "Print the addresses of the running servers."),
    "migrate": Entry("els_stream.commands.migrate:migrate", "Bring the database to the newest schema."),
    "topics": Entry("els_stream.commands.topics:topics", "Create the topics that are missing."),
    "worker": Entry("els_stream.commands.worker:worker", "Run one worker until it is told to stop."),
    "relay": Entry("els_stream.commands.relay:relay", "Run only a relay, until it is told to stop."),
    "run": Entry("els_stream.commands.run:run", "Servers, schema, topics and one worker, until Ctrl-C."),
    "demo": Entry("els_stream.commands.demo:demo", "Send class sets through two workers and check the result."),
    "batch": Entry("els_stream.commands.batch:batch", "Tell where a batch is, and what it waits for."),
    "status": Entry("els_stream.commands.status:status", "Count everything, and how far the input was handled."),
    "watch": Entry("els_stream.commands.watch:watch", "The page's main figures, live in this terminal."),
    "dlq": Entry("els_stream.commands.dlq:dlq", "List, show, replay and drop dead letters."),
    "purge": Entry("els_stream.commands.purge:purge", "Remove finished GUEST batches that are old enough."),
    "erase": Entry("els_stream.commands.erase:erase", "Remove one batch, or one student's associations, on request."),
    "verify": Entry("els_stream.commands.verify:verify", "Check every invariant on the live database."),
    "settings": Entry("els_stream.commands.settings:settings", "Print the effective settings, secrets masked."),
    "completion": Entry("els_stream.commands.completion:completion", "Print what completes commands in bash or zsh."),
}


class Commands(click.Group):
    """Commands by name, imported when they run; an error of ours ends as one line and its exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        entry = ENTRIES.get(cmd_name)
        if entry is None:
            return None
        module, _, function = entry.target.partition(":")
        command = getattr(importlib.import_module(module), function)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.target} is not a command")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """From the list above: nothing is imported to complete a name."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=ENTRIES[name].help) for name in ENTRIES if name.startswith(incomplete)]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Short: with all commands it has to fit a screen of 24 lines."""
        del ctx
        formatter.write(HELP)
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in ENTRIES.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ElsError as error:
            click.echo(f"els: {error}", err=True)
            ctx.exit(error.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="els")
def main() -> None:
    """Gives every uploaded essay one slot. `els settings` prints its settings."""


def db_purge_guest() -> None:
    """`els purge` under the name that operators know."""
    main(args=["purge", *sys.argv[1:]], prog_name="els")
