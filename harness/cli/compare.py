"""`bench compare`: optimizers on one problem under one protocol, with a verdict for every pair."""

from __future__ import annotations

import click

from harness.cli.options import store_url
from harness.cli.run_options import run_options


@click.command(
    "compare",
    epilog="Example: bench compare --optimizers 'nag,hf,sgd[lr=0.05]' --problem curves --seeds 6",
)
@click.option(
    "--optimizers",
    required=True,
    metavar="LIST",
    help="Names with optional values: 'nag,hf[lam=10],nag[lr=0.01|0.05]'; a|b is a grid.",
)
@click.option(
    "--seeds",
    type=int,
    metavar="N",
    help="Seeds 0 … N−1; default: the fewest with which a verdict can be reached.",
)
@click.option(
    "--tune",
    default="none",
    show_default=True,
    metavar="grid|N|none",
    help="Choose hyperparameters first: on declared grids, or at N points of the declared ranges.",
)
@click.option(
    "--tune-seeds",
    type=int,
    default=2,
    show_default=True,
    metavar="N",
    help="Seeds on which every point is tried; the one whose worst seed is best is chosen.",
)
@run_options
def command(json_path: str | None, store: str | None, **settings: object) -> None:
    """Compare optimizers on a problem, with a verdict for every pair."""
    from harness.cli.output import show_result
    from harness.comparing import compare
    from harness.request import Request

    request = Request(store=store_url(store), **settings)  # type: ignore[arg-type]
    summary = compare(request)
    if summary is not None:
        show_result(summary, json_path)
