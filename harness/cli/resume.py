"""`bench resume`: continue an interrupted comparison from its checkpoints."""

from __future__ import annotations

import click

from bench.harness.cli.options import (
    data_dir_option,
    json_option,
    no_mlflow_option,
    plugin_option,
    store_option,
    store_url,
    tracking_option,
)


@click.command("resume", epilog="Example: bench resume 3f2a9b1c")
@click.argument("comparison", required=False)
@click.option(
    "--nproc-per-node",
    type=int,
    metavar="N",
    help="Train on N ranks under torchrun; default: as many as the comparison began with.",
)
@json_option
@plugin_option
@data_dir_option
@store_option
@no_mlflow_option
@tracking_option
def command(
    comparison: str | None,
    nproc_per_node: int | None,
    json_path: str | None,
    plugins: tuple[str, ...],
    data_dir: str | None,
    store: str | None,
    no_mlflow: bool,
    tracking_uri: str | None,
) -> None:
    """Continue an unfinished COMPARISON from its checkpoints; by default the newest one.

    If you give a COMPARISON, bench loads every method and problem that it uses. If you give none,
    bench loads methods and problems that are not built in only if --plugin names them.
    """
    from bench.harness.cli.output import finish
    from bench.harness.comparison.resume import resume

    url = store_url(store)
    summary = resume(url, comparison, nproc_per_node, data_dir, no_mlflow, plugins, tracking_uri)
    if summary is not None:
        finish(summary, url, json_path, None)
