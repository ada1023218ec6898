"""`bench noise`: how much a suite's metrics scatter on this machine when nothing changes."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

import click

from bench.harness.cli.options import (
    data_dir_option,
    json_option,
    no_mlflow_option,
    store_option,
    store_url,
    tracking_option,
)
from bench.harness.cli.output import publish, write_text


@click.command("noise", epilog="Example: bench noise nightly.toml")
@click.argument("suite", metavar="SUITE.toml", type=click.Path(path_type=Path))
@store_option
@data_dir_option
@no_mlflow_option
@tracking_option
@json_option
def command(
    suite: Path,
    store: str | None,
    data_dir: str | None,
    no_mlflow: bool,
    tracking_uri: str | None,
    json_path: str | None,
) -> None:
    """Measure how much a suite's metrics scatter when nothing changes, for `bench nightly`.

    Every comparison runs on many seeds, and every time is measured many times; the table [noise]
    of the suite sets how often. `bench nightly` computes its thresholds from this noise. Run the
    command once on each machine, and again after its hardware, its libraries or the suite change.
    """
    from bench.harness.nightly.suite import StorageOptions, Suite

    read = Suite.read(suite)
    if json_path not in (None, "-"):
        # Now, so that hours are not lost if we cannot write.
        write_text("--json", json_path, "")
    from bench.harness.nightly.noise import measure_noise
    from bench.harness.nightly.noise_table import render_noise, with_thresholds
    from bench.harness.report.files import to_json

    # A module of the user's may print; that must not mix with the result on stdout.
    with redirect_stdout(sys.stderr):
        body = measure_noise(
            read, StorageOptions(store_url(store), data_dir, no_mlflow, tracking_uri)
        )
    text = to_json({"schema_version": 1, **with_thresholds(body)})
    recorded = " The measured noise is recorded, and nights use it."
    publish(text, json_path, render_noise(body), recorded)
