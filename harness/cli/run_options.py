"""The options that `bench compare` and `bench run` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from bench.harness.cli.options import data_dir_option, store_option, tracking_option

html_option = click.option(
    "--html",
    "html_path",
    metavar="FILE",
    help="Write the report as one HTML file, which needs no network.",
)

OPTIONS = (
    click.option("--problem", default="curves", show_default=True, help="curves, mnist, or yours."),
    click.option(
        "--preset",
        default="quick",
        show_default=True,
        metavar="quick|standard|paper",
        help="Minutes on 2 cores, an hour, or the published protocol.",
    ),
    click.option(
        "--budget",
        metavar="CURRENCY=AMOUNT",
        help="gradients=…, updates=…, examples=… or seconds=…; default: the preset's.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "tf32", "fp64"]),
        default="fp32",
        show_default=True,
    ),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
    ),
    click.option(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads, shared by fleets side by side; default: torch's choice.",
    ),
    click.option(
        "--nproc-per-node",
        type=int,
        metavar="N",
        help="Train on N ranks of this machine, started by torchrun: GPUs, or processes.",
    ),
    click.option(
        "--mode",
        type=click.Choice(["trials", "data"]),
        default="trials",
        show_default=True,
        help="Ranks train a fleet each, or all of them each fleet, with a part of every batch.",
    ),
    click.option(
        "--plan",
        metavar="FILE",
        help="Train nothing; write the plan for `bench worker`, or for `torchrun … "
        "-m bench.harness.execution.worker FILE`.",
    ),
    click.option("--timed", is_flag=True, help="Run each trial alone, so that seconds are ranked."),
    click.option("--fresh", is_flag=True, help="Run again what is on record."),
    click.option("--dry-run", is_flag=True, help="Print the plan and run nothing."),
    click.option(
        "--json", "json_path", metavar="FILE", help="Write the result as JSON; -: to stdout."
    ),
    html_option,
    data_dir_option,
    store_option,
    click.option("--no-mlflow", is_flag=True, help="Leave MLflow to a later `bench db sync`."),
    tracking_option,
)


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options in the order in which help shows them."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
