"""`bench`: the commands, each imported only when it is used."""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import tomllib
import traceback
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import click

from bench.harness.core.errors import BenchError, Infrastructure, Usage
from bench.optim.hyperparameters import Unavailable, UsageError, nearest

COMMANDS = {
    "compare": "Compare optimizers on a problem, with a verdict for every pair.",
    "run": "Run one optimizer on a problem and record it.",
    "resume": "Go on with a comparison that was interrupted.",
    "worker": "Lease fleets from the store and train them, on any machine.",
    "show": "Show a comparison or a trial that is recorded.",
    "report": "Write the report of a recorded comparison, as one page or as pictures.",
    "list": "List problems, optimizers, comparisons, trials, claims or baselines.",
    "reproduce": "Make a published figure or table again, or decide the paper's claims.",
    "baseline": "Accept a comparison as what nights are held against.",
    "noise": "Measure how much a suite's metrics scatter where nothing changes.",
    "nightly": "Run a suite every night, and see what has changed.",
    "ui": "Show the store in MLflow's pages until Ctrl-C.",
    "check": "Try the laws on a problem or an optimizer of your own.",
    "db": "Move the store, ask it, keep it in order, and copy it into MLflow.",
    "data": "List, fetch and verify data sets.",
    "doctor": "Say what this machine has, and what is missing.",
}
SETTINGS = Path("bench.toml")
INTERRUPTS = (KeyboardInterrupt, EOFError, click.Abort)


class Commands(click.Group):
    """Imports a command's file when the command is used, so that `bench --help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"bench.harness.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        _check_keys(cmd_name, command, ctx)
        if isinstance(command, click.Group) and ctx.default_map is not None:
            # What all commands share is shared by those within a group too.
            own = ctx.default_map[cmd_name]
            shared = {key: value for key, value in own.items() if not isinstance(value, dict)}
            for name in command.list_commands(ctx):
                own[name] = {**shared, **own.get(name, {})}
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise Usage(
                f"There is no command {args[0]!r}{nearest(args[0], COMMANDS)} "
                f"There are: {', '.join(COMMANDS)}."
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: bench compare --optimizers nag,hf",
)
@click.version_option(package_name="bench-harness", prog_name="bench")
def cli() -> None:
    """Compare optimizers on shared problems, and record every run."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command; end with the exit code that its error carries, and a sentence."""
    # Where a command does not know better, SIGTERM ends it as Ctrl-C does.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    _tables.cache_clear()
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        # Not cli.main: it answers a reader that has gone away with exit code 1.
        with cli.make_context(
            "bench", list(arguments), default_map=_settings(), auto_envvar_prefix="BENCH"
        ) as ctx:
            code = cli.invoke(ctx)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except BrokenPipeError:
        # Whoever read our output has gone: nothing is wrong, and nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        code, sentence = _explain(error)
        # Not left to Python, which would show what others say of a URL with its password.
        told = traceback.format_exc() if debug else sentence + "\n"
        click.echo(_for_people(told, arguments), err=True, nl=False)
        return code


def _explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code of an error, and the sentence that says what is wrong."""
    if isinstance(error, INTERRUPTS):
        return 130, "bench: interrupted."
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        hint = f" `{context.command_path} --help` shows what is allowed." if context else ""
        return 2, f"bench: {error.format_message()}{hint}"
    if isinstance(error, Unavailable):
        return Infrastructure.exit_code, f"bench: {error}"
    if isinstance(error, BenchError | UsageError):
        return error.exit_code if isinstance(error, BenchError) else 2, f"bench: {error}"
    return Infrastructure.exit_code, (
        f"bench: an error that should not happen: {type(error).__name__}: {error}. What was "
        "recorded is kept. The same command with --debug shows where it comes from."
    )


def _for_people(told: str, arguments: list[str]) -> str:
    """Return what is said of an error without passwords, and without what a terminal acts on."""
    from bench.harness.core.secrets import secrets_of, without
    from bench.harness.core.text import visible

    given = [*arguments, *(text for name, text in os.environ.items() if name[:6] == "BENCH_")]
    with suppress(OSError, UnicodeDecodeError):
        given += re.split("[\"']", SETTINGS.read_text("utf-8"))
    secrets = {secret for text in given for secret in secrets_of(text)}
    return visible(without(told, secrets), but="\n")


@cache
def _tables() -> dict[str, Any]:
    """Return what the working directory's bench.toml says: a table a command, and shared keys."""
    if not SETTINGS.is_file():
        return {}
    try:
        tables = tomllib.loads(SETTINGS.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise Usage(f"{SETTINGS} in this folder cannot be read: {error}.") from error
    for name, value in tables.items():
        if isinstance(value, dict) and name not in COMMANDS:
            raise Usage(f"{SETTINGS}: there is no command {name!r}{nearest(name, COMMANDS)}")
    return {
        name: _underscored(value) if isinstance(value, dict) else value
        for name, value in tables.items()
    }


def _underscored(table: dict[str, Any]) -> dict[str, Any]:
    """Return a command's table with keys as options are called, within a group too."""
    return {
        key.replace("-", "_"): _underscored(value) if isinstance(value, dict) else value
        for key, value in table.items()
    }


def _settings() -> dict[str, Any]:
    """Return the defaults of every command: the shared keys, then those of its own table."""
    tables = _tables()
    shared = {k.replace("-", "_"): v for k, v in tables.items() if not isinstance(v, dict)}
    return {command: {**shared, **tables.get(command, {})} for command in COMMANDS}


def _check_keys(name: str, command: click.Command, ctx: click.Context) -> None:
    """Refuse a key in a command's table that is none of its options, or of those within it."""
    table = _tables().get(name, {})
    _check_options(name, command, {k: v for k, v in table.items() if not isinstance(v, dict)})
    within = command.list_commands(ctx) if isinstance(command, click.Group) else []
    for key, value in table.items():
        if isinstance(value, dict):
            below = command.get_command(ctx, key) if isinstance(command, click.Group) else None
            if below is None:
                raise Usage(
                    f"{SETTINGS}: bench {name} has no command {key!r}{nearest(key, within)}"
                )
            _check_options(f"{name} {key}", below, value)


def _check_options(name: str, command: click.Command, given: dict[str, Any]) -> None:
    known = [parameter.name or "" for parameter in command.params]
    for key in given:
        if key not in known:
            raise Usage(f"{SETTINGS}: bench {name} has no option {key!r}{nearest(key, known)}")


if __name__ == "__main__":
    main()
