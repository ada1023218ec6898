"""The options that `bench compare` and `bench run` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from bench.harness.cli.options import (
    data_dir_option,
    device_option,
    fresh_option,
    json_option,
    metric_option,
    no_mlflow_option,
    store_option,
    threads_option,
    tracking_option,
)

html_option = click.option(
    "--html",
    "html_path",
    metavar="FILE",
    help="Write the report to FILE as one HTML page that needs no network.",
)

OPTIONS = (
    click.option(
        "--problem",
        default="curves",
        show_default=True,
        help="A name from `bench list problems`, or a problem of your own.",
    ),
    click.option(
        "--preset",
        default="quick",
        show_default=True,
        metavar="quick|standard|paper",
        help="quick takes minutes on 2 cores, standard an hour; paper is the published protocol.",
    ),
    click.option(
        "--budget",
        metavar="CURRENCY=AMOUNT",
        help="Budget of each trial: gradients=…, updates=…, examples=… or seconds=…; default: the "
        "preset's.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "tf32", "fp64"]),
        default="fp32",
        show_default=True,
        help="Number format of the training.",
    ),
    device_option,
    threads_option,
    click.option(
        "--nproc-per-node",
        type=int,
        metavar="N",
        help="Train on N ranks of this machine, on GPUs or as CPU processes; torchrun starts them.",
    ),
    click.option(
        "--mode",
        type=click.Choice(["trials", "data"]),
        default="trials",
        show_default=True,
        help="trials: each rank trains its own fleet. data: all ranks train the same fleet, each "
        "on a part of every batch.",
    ),
    click.option(
        "--plan",
        metavar="FILE",
        help="Write the plan to FILE and train nothing. `bench worker` trains it, or `torchrun … "
        "-m bench.harness.execution.worker FILE`.",
    ),
    click.option(
        "--timed", is_flag=True, help="Run each trial alone, so that seconds can be compared."
    ),
    fresh_option,
    click.option("--dry-run", is_flag=True, help="Print the plan and run nothing."),
    metric_option,
    json_option,
    html_option,
    data_dir_option,
    store_option,
    no_mlflow_option,
    tracking_option,
)


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options to a command; `--help` shows them in the order above."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
