"""`bench run`: run one optimizer on one problem and record it."""

from __future__ import annotations

import click

from bench.harness.cli.options import store_url
from bench.harness.cli.run_options import run_options


@click.command(
    "run",
    epilog="Example: bench run --optimizer 'nag[lr=0.02]' --problem mnist --seed 3",
)
@click.option(
    "--optimizer", required=True, metavar="NAME", help="One method, for example 'nag[lr=0.02]'."
)
@run_options
@click.option("--seed", type=int, default=0, show_default=True, help="The seed of the trial.")
def command(
    optimizer: str,
    json_path: str | None,
    html_path: str | None,
    store: str | None,
    seed: int,
    **settings: object,
) -> None:
    """Run one optimizer on a problem and record it."""
    from bench.harness.cli.output import check_files, finish
    from bench.harness.comparison.compare import run_one
    from bench.harness.planning.request import Request

    check_files(json=json_path, html=html_path)
    request = Request(
        optimizers=optimizer,
        seeds=None,
        tune="none",
        store=store_url(store),
        **settings,  # type: ignore[arg-type]
    )
    summary = run_one(request, seed)
    if summary is not None:
        finish(summary, request.store, json_path, html_path)
