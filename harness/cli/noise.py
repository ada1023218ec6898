"""`bench noise`: how much a suite's metrics scatter on this machine where nothing changes."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

import click

from bench.harness.cli.options import data_dir_option, store_option, store_url, tracking_option
from bench.harness.cli.output import write_text


@click.command("noise", epilog="Example: bench noise nightly.toml")
@click.argument("suite", metavar="SUITE.toml", type=click.Path(path_type=Path))
@store_option
@data_dir_option
@click.option("--no-mlflow", is_flag=True, help="Leave MLflow to a later `bench db sync`.")
@tracking_option
@click.option("--json", "json_path", metavar="FILE", help="Write it as JSON; -: to stdout.")
def command(
    suite: Path,
    store: str | None,
    data_dir: str | None,
    no_mlflow: bool,
    tracking_uri: str | None,
    json_path: str | None,
) -> None:
    """Measure what a suite's metrics do where nothing changes, for `bench nightly`.

    Every comparison is run on many seeds, and every time is measured many times, as the suite's
    table [noise] says. The thresholds of nights follow from it: run it once on a machine, and again
    after its hardware, its libraries or the suite have changed.
    """
    from bench.harness.nightly.suite import Place, Suite

    read = Suite.read(suite)
    if json_path not in (None, "-"):
        # Before hours are spent.
        write_text("--json", json_path, "")
    from bench.harness.cli.console import PAGE, console
    from bench.harness.nightly.noise import measure_noise
    from bench.harness.nightly.noise_table import render_noise, with_thresholds
    from bench.harness.report.files import to_json

    # What a module of the user's prints is no result.
    with redirect_stdout(sys.stderr):
        body = measure_noise(read, Place(store_url(store), data_dir, no_mlflow, tracking_uri))
    text = to_json({"schema_version": 1, **with_thresholds(body)})
    if json_path == "-":
        click.echo(text, nl=False)
        return
    console(PAGE).print(render_noise(body))
    if json_path is not None:
        recorded = " Noise that was measured is on record, and nights use it."
        write_text("--json", json_path, text, recorded)
