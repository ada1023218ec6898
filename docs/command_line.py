"""The commands as the reference shows them: each with the name by which its group knows it.

A command can be in two groups under two names (`bench list baselines`, `bench baseline list`).
"""

from __future__ import annotations

from copy import copy

import click

from bench.harness.cli.main import cli


def named(command: click.Command, name: str) -> click.Command:
    """Return a copy of a command, and of all that is in it, that knows its name."""
    if not isinstance(command, click.Group):
        shown = copy(command)
        shown.name = name
        return shown
    group = click.Group(name, params=command.params, help=command.help, epilog=command.epilog)
    context = click.Context(command)
    for each in command.list_commands(context):
        within = command.get_command(context, each)
        assert within is not None
        group.add_command(named(within, each), each)
    return group


commands = named(cli, "bench")
