"""`bench nightly`: run a suite every night, and be told when something has changed."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.harness.cli.nightly_history import history
from bench.harness.cli.nightly_status import status
from bench.harness.cli.options import data_dir_option, store_option, store_url, tracking_option
from bench.harness.cli.output import write_text

if TYPE_CHECKING:
    from bench.harness.core.records import NightRecord

RECORDED = " Nights that have ended are on record: bench nightly history."


@click.group("nightly", epilog="Example: bench nightly run examples/nightly.toml")
def command() -> None:
    """Run a suite every night against a baseline, and see what has changed since."""


command.add_command(history)
command.add_command(status)


@command.command(
    epilog="Example: bench nightly run examples/nightly.toml --junit junit.xml --markdown night.md"
)
@click.argument("suite", metavar="SUITE.toml", type=click.Path(path_type=Path))
@click.option("--junit", metavar="FILE", help="Write the result as JUnit XML.")
@click.option("--markdown", metavar="FILE", help="Write it as Markdown, for a job's summary.")
@click.option("--json", "json_path", metavar="FILE", help="Write it as JSON; -: alone to stdout.")
@data_dir_option
@store_option
@click.option("--no-mlflow", is_flag=True, help="Leave MLflow to a later `bench db sync`.")
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
    """Run a suite anew and hold it against its baseline.

    Ends with 0 where nothing has changed, with 1 where something is worse, better or another than
    it was, and with 4 where the errors could not be judged or something failed. The files are
    written however it ends.
    """
    from bench.harness.nightly.night import exit_code
    from bench.harness.nightly.night import run as run_suite
    from bench.harness.nightly.suite import Place, Suite

    read = Suite.read(suite)
    files = {"--junit": junit, "--markdown": markdown, "--json": json_path}
    named = {flag: path for flag, path in files.items() if path and (flag, path) != ("--json", "-")}
    for flag, path in named.items():
        # Before hours are spent; and empty, so that no earlier night's is taken for this one's.
        write_text(flag, path, "")
    # What a module of the user's prints is no result.
    with redirect_stdout(sys.stderr):
        night = run_suite(read, Place(store_url(store), data_dir, no_mlflow, tracking_uri))
    _show(night, alone=json_path == "-")
    for flag, path in named.items():
        write_text(flag, path, _text(night, flag), RECORDED)
    ctx.exit(exit_code(night))


def _show(night: NightRecord, *, alone: bool) -> None:
    """Print a night, or its JSON alone."""
    from bench.harness.cli.console import PAGE, console
    from bench.harness.nightly.table import render

    if alone:
        click.echo(_text(night, "--json"), nl=False)
    else:
        console(PAGE).print(render(night))


def _text(night: NightRecord, flag: str) -> str:
    from bench.harness.nightly.junit import to_junit
    from bench.harness.nightly.table import as_dict, to_markdown
    from bench.harness.report.files import to_json

    if flag == "--json":
        return to_json(as_dict(night))
    return to_junit(night) if flag == "--junit" else to_markdown(night)
