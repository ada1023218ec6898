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

RECORDED = ("recorded", "allow", "json_path", "html_path", "store", "no_mlflow", "tracking_uri")
"""What may be given where recorded comparisons are compared, and nothing is run."""


@click.command(
    "compare",
    epilog="Example: bench compare --optimizers 'nag,hf,sgd[lr=0.05]' --problem curves --seeds 6   "
    "or, of what is recorded: bench compare 3f2a9b1c 77aa0011",
)
@click.argument("recorded", nargs=-1, metavar="[ID ID]...")
@click.option(
    "--optimizers",
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
@click.option(
    "--extend",
    is_flag=True,
    help="Let grids grow while a best value is at their edge, as many trials for every method.",
)
@allow_option
@run_options
@click.pass_context
def command(
    ctx: click.Context,
    recorded: tuple[str, ...],
    optimizers: str | None,
    allow: tuple[str, ...],
    json_path: str | None,
    html_path: str | None,
    store: str | None,
    **settings: object,
) -> None:
    """Compare optimizers on a problem, with a verdict for every pair.

    With IDs of recorded comparisons nothing is run: what they recorded is compared as one.
    """
    from bench.harness.cli.output import check_folders, show_result, write_html
    from bench.harness.comparison.compare import compare
    from bench.harness.planning.request import Request

    _check(ctx, recorded, optimizers, allow)
    check_folders(json=json_path, html=html_path)
    request = Request(
        optimizers=optimizers or "",
        store=store_url(store),
        **settings,  # type: ignore[arg-type]
    )
    summary = _recorded(request, recorded, allow) if recorded else compare(request)
    if summary is not None:
        show_result(summary, json_path)
        if html_path is not None:
            write_html(request.store, summary["comparison"], html_path)


def _check(
    ctx: click.Context, recorded: tuple[str, ...], optimizers: str | None, allow: tuple[str, ...]
) -> None:
    """Refuse what says nothing about what is asked for."""
    if not recorded and optimizers is None:
        raise Usage(
            "Give --optimizers, as in --optimizers nag,hf, to run a comparison, or the IDs of "
            "recorded ones (`bench list comparisons`) to compare these."
        )
    if not recorded and allow:
        raise Usage(
            "--allow is for recorded comparisons, as in `bench compare ID ID --allow "
            f"{allow[0]}`: trials of one command have one protocol."
        )
    given = [
        parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name not in RECORDED
        and ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    if recorded and given:
        raise Usage(
            f"{', '.join(given)}: {' and '.join(recorded)} are compared as they were recorded, "
            "and nothing is run. Leave out one or the other."
        )


def _recorded(request: Request, ids: tuple[str, ...], allow: tuple[str, ...]) -> dict[str, Any]:
    from bench.harness.comparison.combine import compare_recorded
    from bench.harness.comparison.session import mirrored
    from bench.harness.store.results import Store

    with Store.open(request.store, create=False) as store, mirrored(request):
        return compare_recorded(store, ids, allow)
