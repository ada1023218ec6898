"""`bench completion`: the script with which a shell completes commands and options."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_BENCH_COMPLETE"
"""The variable with which the script asks for completions."""


@click.command("completion", epilog="Example: bench completion bash >> ~/.bashrc")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes the commands and options of bench.

    For bash and zsh, add it to ~/.bashrc or ~/.zshrc. For fish, write it to
    ~/.config/fish/completions/bench.fish.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    # Without the check of the shell's version that BashComplete.source() would make.
    script = found(ctx.find_root().command, {}, "bench", VARIABLE)
    click.echo(script.source_template % script.source_vars())
