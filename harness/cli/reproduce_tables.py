"""`bench reproduce table1` and others: the paper's tables, with both ways to choose ε."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from bench.harness.cli.options import (
    data_dir_option,
    device_option,
    fresh_option,
    json_option,
    no_mlflow_option,
    store_option,
    store_url,
    threads_option,
    tracking_option,
)
from bench.harness.cli.output import check_files, publish
from bench.harness.core.errors import Usage

SCHEMA_VERSION = 1
TITLES = {
    1: "SGD, CM, NAG and HF on the deep autoencoders.",
    2: "NAG before and after the final phase of low momentum.",
    3: "NAG on Curves with initialisations of other scales.",
    5: "SGD, CM and NAG on recurrent networks.",
}
OPTIONS = (
    click.option(
        "--task",
        "tasks",
        multiple=True,
        metavar="NAME",
        help="Run only this task of the table. Repeat the option for more; default: all tasks.",
    ),
    click.option(
        "--preset",
        default="quick",
        show_default=True,
        metavar="quick|standard|paper",
        help="Network sizes, data and budget. Published values belong to `paper`.",
    ),
    click.option(
        "--seeds",
        type=int,
        default=2,
        show_default=True,
        metavar="N",
        help="Report the seeds 0 … N−1.",
    ),
    click.option(
        "--tune-seeds",
        type=int,
        default=1,
        show_default=True,
        metavar="N",
        help="Train every learning rate on N tuning seeds, which are not reported.",
    ),
    click.option(
        "--budget", metavar="CURRENCY=AMOUNT", help="Budget of each trial; default: the preset's."
    ),
    device_option,
    threads_option,
    fresh_option,
    click.option("--dry-run", is_flag=True, help="Print the number of trials and run nothing."),
    json_option,
    data_dir_option,
    store_option,
    no_mlflow_option,
    tracking_option,
)


def table_command(table: int) -> click.Command:
    """Return the command of a table."""

    def run(**given: Any) -> None:
        _reproduce(table, **given)

    run.__doc__ = f"""{TITLES[table]}

    Every column trains with the published learning rates. The table shows the result of the rate
    that is best on the tuning seeds, the result of the rate that is best on the reported seeds (the
    paper's way), and the published value. Recorded trials are reused, so you can repeat an
    interrupted command to continue it.
    """
    options: Callable[..., Any] = run
    for option in reversed(OPTIONS):
        options = option(options)
    task = "add" if table == 5 else "curves"
    return click.command(
        f"table{table}",
        short_help=TITLES[table],
        epilog=f"Example: bench reproduce table{table} --task {task} --json table{table}.json",
    )(options)


def _reproduce(
    number: int,
    tasks: tuple[str, ...],
    json_path: str | None,
    dry_run: bool,
    store: str | None,
    **settings: Any,
) -> None:
    from bench.harness.paper.table_runs import check, effort, reproduce_table
    from bench.harness.paper.tables import TABLES
    from bench.harness.paper.tables_report import render_table
    from bench.harness.planning.request import Request
    from bench.harness.report.files import to_json
    from bench.optim.hyperparameters import nearest

    table = TABLES[number]
    if unknown := [task for task in tasks if task not in table.published]:
        raise Usage(
            f"--task {unknown[0]}: table {number} has no such task"
            f"{nearest(unknown[0], table.published)} It has {', '.join(table.published)}."
        )
    check_files(json=json_path)
    chosen = list(dict.fromkeys(tasks)) or list(table.published)
    request = Request(
        optimizers="",
        problem="",
        tune="none",
        precision="fp32",
        timed=False,
        dry_run=False,
        store=store_url(store),
        **settings,
    )
    if dry_run:
        check(table, chosen, request)
        trials = effort(table, chosen, settings["seeds"], settings["tune_seeds"])
        click.echo(
            f"Table {number}, {', '.join(chosen)} at preset {request.preset}: {trials:,} trials at "
            "most, including those that are recorded already."
        )
        return
    result = reproduce_table(table, chosen, request)
    text = to_json({"schema_version": SCHEMA_VERSION, **result})
    recorded = " The trials are recorded; the same command shows them again."
    publish(text, json_path, render_table(result), recorded)
