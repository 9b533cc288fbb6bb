from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from els_stream.commands.exit_codes import exit_codes

SHELLS = ("bash", "zsh")


@click.command(epilog=exit_codes())
@click.argument("shell", type=click.Choice(SHELLS))
def completion(*, shell: str) -> None:
    """Print the shell code that completes commands and options in bash or zsh.

    Evaluate it in the start file of the shell.

    Example: eval "$(els completion bash)"
    """
    root = click.get_current_context().find_root()
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(found(root.command, {}, "els", "_ELS_COMPLETE").source())
