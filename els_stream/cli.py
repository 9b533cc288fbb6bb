"""The command `els`. It imports only the command that runs, so that `els --help` is fast.

Whatever a command raises ends here, as one line on stderr and an exit code; `els --debug COMMAND` prints the traceback
too.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import sys
import traceback
from dataclasses import dataclass
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from els_stream.errors import ElsError
from els_stream.version import VERSION


@dataclass(frozen=True, slots=True)
class Entry:
    """A command's target, as module:function, and its line in the help."""

    target: str
    help: str


HELP = """\
Usage: els [--debug] COMMAND [OPTIONS]   `els COMMAND --help` has an example.
Gives every uploaded essay one slot. Settings: `els settings --explain`.
Exit codes: 0 done; 1 a check failed; 2 wrong setting or option; 3 no server.
"""

ENTRIES = {
    "up": Entry("els_stream.commands.servers:up", "Start PostgreSQL and Kafka on this machine, in the background."),
    "down": Entry("els_stream.commands.servers:down", "Stop the servers that `els up` started."),
    "servers": Entry("els_stream.commands.servers:servers", "Print the addresses of the running servers."),
    "migrate": Entry("els_stream.commands.migrate:migrate", "Apply database migrations."),
    "topics": Entry("els_stream.commands.topics:topics", "Create the topics that are missing."),
    "worker": Entry("els_stream.commands.worker:worker", "Run one worker until SIGTERM or Ctrl-C."),
    "relay": Entry("els_stream.commands.relay:relay", "Run only a relay, until SIGTERM or Ctrl-C."),
    "run": Entry("els_stream.commands.run:run", "Start servers, migrate, create topics and run one worker."),
    "demo": Entry("els_stream.commands.demo:demo", "Send class sets through two workers and check the result."),
    "batch": Entry("els_stream.commands.batch:batch", "Show the state of a batch, what it waits for and its events."),
    "status": Entry("els_stream.commands.status:status", "Show counts and consumer lag."),
    "watch": Entry("els_stream.commands.watch:watch", "Show the page's main numbers live in this terminal."),
    "dlq": Entry("els_stream.commands.dlq:dlq", "List, show, replay and discard dead letters."),
    "purge": Entry("els_stream.commands.purge:purge", "Remove completed GUEST batches of a minimum age."),
    "erase": Entry("els_stream.commands.erase:erase", "Remove one batch, or one student's associations, on request."),
    "verify": Entry("els_stream.commands.verify:verify", "Check every invariant on the live database."),
    "asyncapi": Entry("els_stream.commands.asyncapi:asyncapi", "Print the AsyncAPI document of topics and events."),
    "settings": Entry("els_stream.commands.settings:settings", "Print the effective settings, with secrets masked."),
    "completion": Entry(
        "els_stream.commands.completion:completion", "Print the shell code for completion in bash or zsh."
    ),
}


class Commands(click.Group):
    """Imports a command when it runs, and prints its error as one line before exiting with its code."""

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
        """Complete names from ENTRIES, without importing a command."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=ENTRIES[name].help) for name in ENTRIES if name.startswith(incomplete)]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a short help: with all commands it must fit a screen of 24 lines."""
        del ctx
        formatter.write(HELP)
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in ENTRIES.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse bytes that are no UTF-8, which Python hands over as surrogates: no id can have them."""
        if any("\ud800" <= character <= "\udfff" for argument in args for character in argument):
            raise click.UsageError("an argument is not UTF-8 text", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - no traceback reaches an operator
            _end(ctx, error)


def _end(ctx: click.Context, error: BaseException) -> NoReturn:
    """Print the error as one line, after its traceback if that is wanted, and exit with its code."""
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        raise error  # click ends the process: the reader of our output is gone
    if ctx.params["debug"]:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    shown = error if isinstance(error, ElsError) else _explained(error)
    click.echo(f"els: {shown}", err=True)
    ctx.exit(shown.exit_code)


def _explained(error: BaseException) -> ElsError:
    """Import the explanations only now: they need the libraries whose errors they know."""
    explained: ElsError = importlib.import_module("els_stream.commands.failures").explain(error)
    return explained


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Print the traceback of an error, and all that libraries log.")
@click.version_option(VERSION, prog_name="els")
def main(*, debug: bool) -> None:
    """Gives every uploaded essay one slot. `els settings` prints its settings."""
    importlib.import_module("els_stream.observability.logging").configure_command_logging(debug=debug)


def db_purge_guest() -> None:
    """Run `els purge` under the name that operators know from the old service."""
    main(args=["purge", *sys.argv[1:]], prog_name="els")
