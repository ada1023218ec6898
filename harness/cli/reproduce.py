"""`bench reproduce`: published figures and tables, made again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from bench.harness.cli.output import check_folders
from bench.harness.cli.reproduce_claims import command as claims_
from bench.harness.cli.reproduce_tables import TITLES, table_command
from bench.harness.core.errors import BenchError, Infrastructure, Usage


class Figures(click.Group):
    """Names what there is where something else was asked for."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from bench.optim.hyperparameters import nearest

        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise Usage(
                f"There is no {args[0]!r} to reproduce{nearest(args[0], self.commands)} "
                f"There are: {', '.join(self.commands)}."
            )
        return super().resolve_command(ctx, args)


@click.group("reproduce", cls=Figures, epilog="Example: bench reproduce figure2")
def command() -> None:
    """Make a published figure or table again, or decide the paper's claims."""


command.add_command(claims_)
for _table in TITLES:
    command.add_command(table_command(_table))


def _files(name: str) -> Callable[[Any], Any]:
    """Add --out and --json."""
    out = click.option(
        "--out", default=f"{name}.png", show_default=True, metavar="FILE", help="The picture, PNG."
    )
    data = click.option(
        "--json", "json_path", metavar="FILE", help="Write the data as JSON; -: to stdout."
    )
    return lambda function: out(data(function))


@command.command(
    "figure2",
    short_help="Gradient descent, CM and NAG on an oblong quadratic.",
    epilog="Example: bench reproduce figure2 --json figure2.json",
)
@_files("figure2")
def figure2_(out: str, json_path: str | None) -> None:
    """Gradient descent, CM and NAG from one start on an oblong quadratic."""
    from bench.harness.paper.figure2 import METHODS, draw, figure2

    check_folders(out=out, json=json_path)
    data = figure2()
    steps = len(data.values["nag"]) - 1
    lines = [
        f"f(θ) = ½ θᵀAθ, A = diag({data.curvatures[0]:g}, {data.curvatures[1]:g}), "
        f"μ = {data.mu:g}, ε = {data.epsilon:g}, {steps} updates.",
        f"{'':4} {'way along the steep axis':>26} {'f at the end':>14}",
        *(f"{m:4} {data.travelled(m):26.3f} {data.values[m][-1]:14.3g}" for m in METHODS),
    ]
    _give(lines, data.as_dict(), lambda path: draw(data, path), out, json_path)
    if data.travelled("cm") < 2 * data.travelled("nag"):
        raise BenchError("CM does not oscillate more than NAG along the steep axis.")


@command.command(
    "figure5",
    short_help="CG against NAG on one quadratic of a Hessian-free run.",
    epilog="Example: bench reproduce figure5 --iterations 40 --threads 1",
)
@click.option(
    "--preset",
    default="quick",
    show_default=True,
    metavar="quick|standard|paper",
    help="Of curves: a minute on one core, a quarter of an hour, or hours.",
)
@click.option(
    "--iterations",
    type=click.IntRange(1, 1_000_000),
    default=25,
    show_default=True,
    help="Of hf, before the quadratic is taken.",
)
@click.option("--seed", type=click.IntRange(0, 999_999), default=0, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(1, os.cpu_count() or 1),
    metavar="N",
    help="CPU threads; default: torch's choice.",
)
@_files("figure5")
def figure5_(
    preset: str, iterations: int, seed: int, threads: int | None, out: str, json_path: str | None
) -> None:
    """CG against NAG on the damped quadratic of a Hessian-free iteration on Curves."""
    import torch

    from bench.harness.paper.figure5 import SCHEDULE, draw, figure5

    if threads is not None:
        torch.set_num_threads(threads)
    check_folders(out=out, json=json_path)
    click.echo(f"hf on curves/{preset}, {iterations} iterations, in float64 …", err=True)
    data = figure5("curves", preset, iterations, seed)
    race = data.race
    columns = {
        "CG": race.cg,
        "NAG (1983)": race.nag[SCHEDULE],
        f"NAG (μ = {race.best})": race.nag[race.best],
    }
    lines = [
        f"After {iterations} iterations of hf, training error {data.error:.4g}: "
        f"λ = {data.lam:.3g}, L = {race.largest:.4g}, φ* = {race.minimum:.6g}.",
        f"{'step':>4}" + "".join(f"{'φ by ' + name:>20}" for name in columns),
        *(
            f"{step:4}" + "".join(f"{values[step]:20.6g}" for values in columns.values())
            for step in (30, 60, 120)
        ),
    ]
    _give(lines, data.as_dict(), lambda path: draw(data, path), out, json_path)
    if not race.cg_is_never_above:
        raise BenchError("CG is above NAG at some step, which in exact arithmetic it cannot be.")


def _give(
    lines: list[str],
    data: Mapping[str, Any],
    draw: Callable[[Path], None],
    out: str,
    json_path: str | None,
) -> None:
    """Draw the picture and print the lines, or with `--json -` the JSON alone."""
    text = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False)
    flag, place = "--out", out
    try:
        draw(Path(out))
        if json_path not in (None, "-"):
            flag, place = "--json", str(json_path)
            Path(place).write_text(text + "\n", "utf-8")
    except OSError as error:
        raise Infrastructure(f"{flag} {place} cannot be written: {error.strerror}.") from error
    click.echo(text if json_path == "-" else "\n".join(lines))
    click.echo(f"picture: {out}", err=True)
