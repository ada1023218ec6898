"""`bench reproduce table1` and its like: the paper's tables, with both ways to choose ε."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from bench.harness.cli.options import data_dir_option, store_option, store_url, tracking_option
from bench.harness.cli.output import check_folders, write_text
from bench.harness.core.errors import Usage

SCHEMA_VERSION = 1
TITLES = {
    1: "SGD, CM, NAG and HF on the deep autoencoders.",
    2: "NAG before and after the final phase of low momentum.",
    3: "NAG on Curves from starts of other scales.",
    5: "SGD, CM and NAG on recurrent networks.",
}
OPTIONS = (
    click.option(
        "--task", "tasks", multiple=True, metavar="NAME", help="Default: all. May be given again."
    ),
    click.option(
        "--preset",
        default="quick",
        show_default=True,
        metavar="quick|standard|paper",
        help="Sizes, data and budget; what is published is of `paper`.",
    ),
    click.option(
        "--seeds",
        type=int,
        default=2,
        show_default=True,
        metavar="N",
        help="Reported seeds 0 … N−1.",
    ),
    click.option(
        "--tune-seeds",
        type=int,
        default=1,
        show_default=True,
        metavar="N",
        help="Seeds on which every learning rate is tried, and which are not reported.",
    ),
    click.option("--budget", metavar="CURRENCY=AMOUNT", help="Of a trial; default: the preset's."),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
    ),
    click.option(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads, shared by fleets side by side; default: torch's choice.",
    ),
    click.option("--fresh", is_flag=True, help="Run again what is on record."),
    click.option("--dry-run", is_flag=True, help="Say how many trials there are, and run nothing."),
    click.option(
        "--json", "json_path", metavar="FILE", help="Write the result as JSON; -: to stdout."
    ),
    data_dir_option,
    store_option,
    click.option("--no-mlflow", is_flag=True, help="Leave MLflow to a later `bench db sync`."),
    tracking_option,
)


def table_command(table: int) -> click.Command:
    """Return the command of a table."""

    def run(**given: Any) -> None:
        _reproduce(table, **given)

    run.__doc__ = f"""{TITLES[table]}

    Every column tries the published learning rates. Shown are the one that is chosen on tuning
    seeds and the one that is chosen on the reported seeds, as in the paper, beside what is
    published. What is on record is reused, so an interrupted run goes on when it is called again.
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
    from bench.harness.cli.console import PAGE, console
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
    check_folders(json=json_path)
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
            "most, those that are on record included."
        )
        return
    result = reproduce_table(table, chosen, request)
    text = to_json({"schema_version": SCHEMA_VERSION, **result})
    if json_path == "-":
        click.echo(text, nl=False)
        return
    console(PAGE).print(render_table(result))
    if json_path:
        recorded = " The trials are recorded, and the same command shows them again."
        write_text("--json", json_path, text, recorded)
