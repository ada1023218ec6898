"""`bench resume`: go on with a comparison that was interrupted, from its checkpoints."""

from __future__ import annotations

import click

from bench.harness.cli.options import (
    data_dir_option,
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
    help="Ranks under torchrun; default: as many as it was begun with.",
)
@click.option("--json", "json_path", metavar="FILE", help="Write the result as JSON; -: to stdout.")
@plugin_option
@data_dir_option
@store_option
@click.option("--no-mlflow", is_flag=True, help="Leave MLflow to a later `bench db sync`.")
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
    """Go on with an unfinished COMPARISON, or with the newest one, where it was left.

    Whatever a COMPARISON uses is loaded; of your own, the newest one may use what --plugin names.
    """
    from bench.harness.cli.output import show_result
    from bench.harness.comparison.resume import resume

    summary = resume(
        store_url(store), comparison, nproc_per_node, data_dir, no_mlflow, plugins, tracking_uri
    )
    if summary is not None:
        show_result(summary, json_path)
