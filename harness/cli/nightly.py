"""`bench nightly`: run a suite every night, and report when something has changed."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.harness.cli.nightly_history import history
from bench.harness.cli.nightly_status import status
from bench.harness.cli.options import (
    data_dir_option,
    json_option,
    no_mlflow_option,
    store_option,
    store_url,
    tracking_option,
)
from bench.harness.cli.output import print_data, write_text

if TYPE_CHECKING:
    from bench.harness.core.records import NightRecord

RECORDED = " The night is recorded; see it with: bench nightly history."


@click.group("nightly", epilog="Example: bench nightly run examples/nightly.toml")
def command() -> None:
    """Run a suite every night, and report what has changed since its baseline."""


command.add_command(history)
command.add_command(status)


@command.command(
    epilog="Example: bench nightly run examples/nightly.toml --junit junit.xml --markdown night.md"
)
@click.argument("suite", metavar="SUITE.toml", type=click.Path(path_type=Path))
@click.option("--junit", metavar="FILE", help="Write the result as JUnit XML.")
@click.option(
    "--markdown", metavar="FILE", help="Write the result as Markdown, for the summary of a CI job."
)
@json_option
@data_dir_option
@store_option
@no_mlflow_option
@tracking_option
@click.pass_context
def run(
    ctx: click.Context,
    suite: Path,
    junit: str | None,
    markdown: str | None,
    json_path: str | None,
    data_dir: str | None,
    store: str | None,
    no_mlflow: bool,
    tracking_uri: str | None,
) -> None:
    """Run a suite again and compare it with its baseline.

    The exit code is 0 if nothing has changed; 1 if a metric is worse or better than before, or if
    other results came out; 4 if the errors could not be judged or something failed. The files are
    written in every case.
    """
    from bench.harness.nightly.night import exit_code
    from bench.harness.nightly.night import run as run_suite
    from bench.harness.nightly.suite import StorageOptions, Suite

    read = Suite.read(suite)
    files = {"--junit": junit, "--markdown": markdown, "--json": json_path}
    named = {flag: path for flag, path in files.items() if path and (flag, path) != ("--json", "-")}
    for flag, path in named.items():
        # Now, so that hours are not lost if we cannot write. Empty, so that nobody takes the file
        # of an earlier night for this one's.
        write_text(flag, path, "")
    # A module of the user's may print; that must not mix with the result on stdout.
    with redirect_stdout(sys.stderr):
        night = run_suite(read, StorageOptions(store_url(store), data_dir, no_mlflow, tracking_uri))
    try:
        for flag, path in named.items():
            write_text(flag, path, _text(night, flag), RECORDED)
    finally:
        _show(night, alone=json_path == "-")
    ctx.exit(exit_code(night))


def _show(night: NightRecord, *, alone: bool) -> None:
    """Print a night as a table, or only its JSON."""
    from bench.harness.cli.console import PAGE, console
    from bench.harness.nightly.table import render

    if alone:
        print_data(_text(night, "--json"))
    else:
        console(PAGE).print(render(night))


def _text(night: NightRecord, flag: str) -> str:
    from bench.harness.nightly.junit import to_junit
    from bench.harness.nightly.table import as_dict, to_markdown
    from bench.harness.report.files import to_json

    if flag == "--json":
        return to_json(as_dict(night))
    return to_junit(night) if flag == "--junit" else to_markdown(night)
