"""`bench reproduce`: published figures and tables from new runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from bench.harness.cli.options import json_option
from bench.harness.cli.output import check_files, print_data
from bench.harness.cli.reproduce_claims import command as claims_
from bench.harness.cli.reproduce_tables import TITLES, table_command
from bench.harness.core.errors import BenchError, Infrastructure, Usage


class ReproduceGroup(click.Group):
    """A group that lists its commands when the user asks for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from bench.optim.hyperparameters import nearest

        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise Usage(
                f"`bench reproduce` has no {args[0]!r}{nearest(args[0], self.commands)} "
                f"It has: {', '.join(self.commands)}."
            )
        return super().resolve_command(ctx, args)


@click.group("reproduce", cls=ReproduceGroup, epilog="Example: bench reproduce figure2")
def command() -> None:
    """Reproduce a published figure or table, or decide the paper's claims."""


command.add_command(claims_)
for _table in TITLES:
    command.add_command(table_command(_table))


def _output_options(name: str) -> Callable[[Any], Any]:
    """Return a decorator that adds --out and --json to a figure's command."""
    out = click.option(
        "--out",
        default=f"{name}.png",
        show_default=True,
        metavar="FILE",
        help="Write the picture to FILE as PNG.",
    )
    return lambda function: out(json_option(function))


@command.command(
    "figure2",
    short_help="Gradient descent, CM and NAG on an ill-conditioned quadratic.",
    epilog="Example: bench reproduce figure2 --json figure2.json",
)
@_output_options("figure2")
def figure2_(out: str, json_path: str | None) -> None:
    """Gradient descent, CM and NAG from one start on an ill-conditioned quadratic."""
    from bench.harness.paper.figure2 import METHODS, draw, figure2

    check_files(out=out, json=json_path)
    data = figure2()
    steps = len(data.values["nag"]) - 1
    lines = [
        f"f(θ) = ½ θᵀAθ, A = diag({data.curvatures[0]:g}, {data.curvatures[1]:g}), "
        f"μ = {data.mu:g}, ε = {data.epsilon:g}, {steps} updates.",
        f"{'':4} {'path along the steep axis':>26} {'final f':>14}",
        *(f"{m:4} {data.travelled(m):26.3f} {data.values[m][-1]:14.3g}" for m in METHODS),
    ]
    _write_output(lines, data.as_dict(), lambda path: draw(data, path), out, json_path)
    if data.travelled("cm") < 2 * data.travelled("nag"):
        raise BenchError(
            "The figure is not reproduced: CM does not oscillate more than NAG along the steep "
            "axis."
        )


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
    help="Preset of the problem curves. On one core, quick takes a minute, standard a quarter of "
    "an hour, paper hours.",
)
@click.option(
    "--iterations",
    type=click.IntRange(1, 1_000_000),
    default=25,
    show_default=True,
    help="Iterations of hf before the quadratic is taken.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 999_999),
    default=0,
    show_default=True,
    help="The seed of the hf run.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, os.cpu_count() or 1),
    metavar="N",
    help="CPU threads; default: torch's choice.",
)
@_output_options("figure5")
def figure5_(
    preset: str, iterations: int, seed: int, threads: int | None, out: str, json_path: str | None
) -> None:
    """CG against NAG on the damped quadratic of a Hessian-free iteration on Curves."""
    import torch

    from bench.harness.paper.figure5 import SCHEDULE, draw, figure5

    if threads is not None:
        torch.set_num_threads(threads)
    check_files(out=out, json=json_path)
    click.echo(f"hf on curves/{preset}, {iterations} iterations, in float64 …", err=True)
    data = figure5("curves", preset, iterations, seed)
    convergence = data.convergence
    columns = {
        "CG": convergence.cg,
        "NAG (1983)": convergence.nag[SCHEDULE],
        f"NAG (μ = {convergence.best})": convergence.nag[convergence.best],
    }
    lines = [
        f"After {iterations} iterations of hf, training error {data.error:.4g}: "
        f"λ = {data.lam:.3g}, L = {convergence.largest:.4g}, φ* = {convergence.minimum:.6g}.",
        f"{'step':>4}" + "".join(f"{'φ by ' + name:>20}" for name in columns),
        *(
            f"{step:4}" + "".join(f"{values[step]:20.6g}" for values in columns.values())
            for step in (30, 60, 120)
        ),
    ]
    _write_output(lines, data.as_dict(), lambda path: draw(data, path), out, json_path)
    if not convergence.cg_is_never_above:
        raise BenchError(
            "The figure is not reproduced: φ of CG is above that of NAG at some step, which is "
            "impossible in exact arithmetic."
        )


def _write_output(
    lines: list[str],
    data: Mapping[str, Any],
    draw: Callable[[Path], None],
    out: str,
    json_path: str | None,
) -> None:
    """Draw the picture, and print the lines or, with `--json -`, only the JSON."""
    text = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False)
    flag, place = "--out", out
    try:
        draw(Path(out))
        if json_path not in (None, "-"):
            flag, place = "--json", str(json_path)
            Path(place).write_text(text + "\n", "utf-8")
    except OSError as error:
        raise Infrastructure(f"{flag} {place} cannot be written: {error.strerror}.") from error
    if json_path == "-":
        print_data(text + "\n")
    else:
        click.echo("\n".join(lines))
    click.echo(f"picture: {out}", err=True)
