"""`bench compare`: optimizers on one problem under one protocol, with a verdict for every pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bench.harness.cli.options import allow_option, store_url
from bench.harness.cli.run_options import run_options
from bench.harness.core.errors import Usage

if TYPE_CHECKING:
    from bench.harness.planning.request import Request

HEXADECIMAL = set("0123456789abcdef")
"""What an ID is made of."""
RECORDED_OPTIONS = (
    "recorded",
    "allow",
    "metric",
    "json_path",
    "html_path",
    "store",
    "no_mlflow",
    "tracking_uri",
)
"""The parameters that are allowed with IDs of recorded comparisons, where nothing is run."""


@click.command(
    "compare",
    epilog="Example: bench compare --optimizers 'nag,hf,sgd[lr=0.05]' --problem curves --seeds 6   "
    "or, for recorded comparisons: bench compare 3f2a9b1c 77aa0011",
)
@click.argument("recorded", nargs=-1, metavar="[ID ID]...")
@click.option(
    "--optimizers",
    metavar="LIST",
    help="Names, with values in brackets: 'nag,hf[lam=10],nag[lr=0.01|0.05]'; a|b is a grid, and "
    "(0.9,0.99) a tuple.",
)
@click.option(
    "--seeds",
    type=int,
    metavar="N",
    help="Run seeds 0 … N−1; default: the fewest seeds that allow a verdict.",
)
@click.option(
    "--tune",
    default="none",
    show_default=True,
    metavar="grid|N|none",
    help="Tune hyperparameters first: on the declared grids, or at N points in the declared "
    "ranges.",
)
@click.option(
    "--tune-seeds",
    type=int,
    default=2,
    show_default=True,
    metavar="N",
    help="Train every point on N tuning seeds; the point with the best worst seed is chosen.",
)
@click.option(
    "--extend",
    is_flag=True,
    help="Extend a grid while its best value lies at its edge; every method gets as many trials.",
)
@click.option(
    "--budgets",
    metavar="CURRENCY=A|B|C",
    help="Compare at each of several budgets, run each to its own end, and show the results as "
    "curves: updates=100|300|1000, or 1e5|3e5|1e6 for gradients.",
)
@allow_option
@run_options
@click.pass_context
def command(
    ctx: click.Context,
    recorded: tuple[str, ...],
    optimizers: str | None,
    budgets: str | None,
    allow: tuple[str, ...],
    json_path: str | None,
    html_path: str | None,
    store: str | None,
    **settings: object,
) -> None:
    """Compare optimizers on a problem, with a verdict for every pair.

    With the IDs of recorded comparisons, nothing is run: their trials are compared as one
    comparison.
    """
    from bench.harness.cli.output import check_files, finish
    from bench.harness.comparison.compare import compare
    from bench.harness.planning.request import Request

    _check(ctx, recorded, optimizers, allow)
    check_files(json=json_path, html=html_path)
    if recorded or _yields(ctx, "budgets", "budget"):
        budgets = None
    elif _yields(ctx, "budget", "budgets"):
        settings["budget"] = None
    request = Request(
        optimizers=optimizers or "",
        store=store_url(store),
        **settings,  # type: ignore[arg-type]
    )
    if budgets is not None:
        _compare_budgets(request, budgets, json_path, html_path)
        return
    summary = _compare_recorded(request, recorded, allow) if recorded else compare(request)
    if summary is not None:
        finish(summary, request.store, json_path, html_path)


def _check(
    ctx: click.Context, recorded: tuple[str, ...], optimizers: str | None, allow: tuple[str, ...]
) -> None:
    """Raise Usage where options for a new comparison and for recorded ones are mixed."""
    if not recorded and optimizers is None:
        raise Usage(
            "Give --optimizers to run a comparison, for example --optimizers nag,hf. Or give the "
            "IDs of recorded comparisons to compare them; `bench list comparisons` lists them."
        )
    if not recorded and allow:
        raise Usage(
            "--allow applies to recorded comparisons only, as in `bench compare ID ID --allow "
            f"{allow[0]}`. All trials of one command have the same protocol."
        )
    written = [word for word in recorded if not set(word) <= HEXADECIMAL]
    if written and optimizers is None:
        raise Usage(
            f"{written[0]} is no ID of a recorded comparison. To compare optimizers, write "
            f"--optimizers {','.join(recorded)}."
        )
    given = [
        parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name not in RECORDED_OPTIONS
        and ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    if recorded and given:
        raise Usage(
            f"{', '.join(given)} cannot be used with recorded comparisons: "
            f"{' and '.join(recorded)} are compared as they were recorded, and nothing is run. "
            "Leave out the options or the IDs."
        )


def _yields(ctx: click.Context, one: str, other: str) -> bool:
    """Say whether an option is a setting, such as bench.toml's, and the other was written."""
    written = [
        ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in (one, other)
    ]
    return written == [False, True]


def _compare_budgets(
    request: Request, budgets: str, json_path: str | None, html_path: str | None
) -> None:
    from bench.harness.cli.output import finish_budgets
    from bench.harness.comparison.budget_curve import compare_budgets

    found = compare_budgets(request, budgets)
    if found is not None:
        finish_budgets(found, json_path, html_path)


def _compare_recorded(
    request: Request, ids: tuple[str, ...], allow: tuple[str, ...]
) -> dict[str, Any]:
    from bench.harness.comparison.combine import compare_recorded
    from bench.harness.comparison.session import mirrored
    from bench.harness.store.results import Store

    with Store.open(request.store, create=False) as store, mirrored(request):
        return compare_recorded(store, ids, allow, request.metric)
