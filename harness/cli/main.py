"""`bench`: the commands, each imported only when it is used."""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from bench.harness.cli import settings
from bench.harness.cli.completion import VARIABLE
from bench.harness.core.errors import BenchError, Infrastructure, Usage
from bench.harness.core.notices import say
from bench.harness.core.streams import lasting_streams
from bench.models.errors import ProblemError
from bench.optim.hyperparameters import Unavailable, UsageError, nearest

COMMANDS = {
    "compare": "Compare optimizers on a problem, with a verdict for every pair.",
    "run": "Run one optimizer on a problem and record it.",
    "resume": "Continue a comparison that was interrupted.",
    "worker": "Train fleets of planned comparisons, on any machine.",
    "show": "Show a recorded comparison or trial.",
    "report": "Write the report of a recorded comparison, as one page or as pictures.",
    "list": "List problems, optimizers, comparisons, trials, claims or baselines.",
    "reproduce": "Reproduce a published figure or table, or decide the paper's claims.",
    "baseline": "Accept a comparison as the baseline of later nights.",
    "noise": "Measure how much a suite's metrics scatter when nothing changes.",
    "nightly": "Run a suite every night, and report what has changed.",
    "ui": "Show the store in MLflow's web pages until you press Ctrl-C.",
    "check": "Check a problem or an optimizer against the laws.",
    "db": "Query, move and clean the store, and copy it to MLflow.",
    "data": "List, fetch and verify data sets.",
    "doctor": "Report what this machine has, and what is missing.",
    "completion": "Print the script with which a shell completes commands and options.",
}
INTERRUPTS = (KeyboardInterrupt, EOFError, click.Abort)


class LazyGroup(click.Group):
    """A group that imports a command's file when the command is used: `bench --help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"bench.harness.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        settings.name_variables(command, cmd_name, ctx)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise Usage(
                f"There is no command {args[0]!r}{nearest(args[0], COMMANDS)} "
                f"The commands are: {', '.join(COMMANDS)}."
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: bench compare --optimizers nag,hf",
)
@click.version_option(package_name="bench-harness", prog_name="bench")
def cli() -> None:
    """Compare optimizers on shared problems, and record every run."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit; an error sets the exit code and is explained in one sentence."""
    # SIGTERM ends a command as Ctrl-C does, unless the command installs its own handler.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with lasting_streams() as output:
            code = _run(sys.argv[1:] if arguments is None else arguments)
            sys.stdout.flush()
            if output.failure is not None:
                say(
                    f"bench: the output could not be written: {output.failure}. The command itself "
                    "has ended, and what it records and the files that it writes are there."
                )
                code = code or Infrastructure.exit_code
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    settings.forget()
    if asked := os.environ.get(VARIABLE):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "bench", VARIABLE, asked)
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        # Not cli.main, which exits by itself.
        with cli.make_context("bench", list(arguments)) as ctx:
            if arguments and arguments[0] in COMMANDS:
                try:
                    _take_settings(ctx, arguments[0])
                except Usage as fault:
                    if not _print_help(ctx, arguments, fault):
                        raise
                    return 0
            code = cli.invoke(ctx)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except (Exception, KeyboardInterrupt) as error:
        code, sentence = _explain(error)
        # Python's own traceback could show a URL with its password, so we print it ourselves.
        message = traceback.format_exc() if debug else sentence + "\n"
        click.echo(redacted_message(message, arguments), err=True, nl=False)
        return code


def _take_settings(ctx: click.Context, command: str) -> None:
    """Give a command's options their defaults from bench.toml; warn of variables nobody reads."""
    ctx.default_map = settings.defaults(cli, ctx)
    for sentence in settings.unknown_variables(cli, ctx, command):
        say(sentence)


def _print_help(ctx: click.Context, arguments: Sequence[str], fault: Usage) -> bool:
    """Print the help that was asked for although bench.toml has a fault; return whether it was."""
    if not {"-h", "--help"} & set(arguments):
        return False
    command: click.Command = cli
    for name in arguments:
        inner = command.get_command(ctx, name) if isinstance(command, click.Group) else None
        if inner is None:
            break
        command, ctx = inner, click.Context(inner, parent=ctx, info_name=name)
    click.echo(command.get_help(ctx))
    say(f"bench: {fault} Commands refuse to run until that is mended.")
    return True


def _explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code of an error and the sentence that explains it."""
    if isinstance(error, INTERRUPTS):
        return 130, "bench: interrupted."
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        hint = f" `{context.command_path} --help` shows what is allowed." if context else ""
        return 2, f"bench: {error.format_message()}{hint}"
    if isinstance(error, Unavailable):
        return Infrastructure.exit_code, f"bench: {error}"
    if isinstance(error, ProblemError):
        return Usage.exit_code, f"bench: {error}."
    if isinstance(error, BenchError | UsageError):
        return error.exit_code if isinstance(error, BenchError) else 2, f"bench: {error}"
    return Infrastructure.exit_code, (
        f"bench: an unexpected error: {type(error).__name__}: {error}. The results recorded so far "
        "are kept. Run the same command with --debug to see where the error comes from."
    )


def redacted_message(message: str, arguments: Sequence[str]) -> str:
    """Return an error message without passwords and without terminal control characters."""
    from bench.harness.core.secrets import redacted, secrets_in
    from bench.harness.core.text import visible

    given = [*arguments, *(text for name, text in os.environ.items() if name[:6] == "BENCH_")]
    with suppress(OSError, UnicodeDecodeError):
        if settings.SETTINGS.is_file():
            given += re.split("[\"']", settings.SETTINGS.read_text("utf-8"))
    secrets = {secret for text in given for secret in secrets_in(text)}
    return visible(redacted(message, secrets), but="\n")


def settings_for(command: str, *arguments: str) -> dict[str, Any]:
    """Return the options of a command as the environment and bench.toml set them, else defaults.

    The Python API takes store, data and MLflow from here, as the command does.
    """
    settings.forget()
    with cli.make_context("bench", [command]) as ctx:
        _take_settings(ctx, command)
        found = cli.get_command(ctx, command)
        assert found is not None
        with found.make_context(command, list(arguments), parent=ctx) as of_command:
            return dict(of_command.params)


if __name__ == "__main__":
    main()
