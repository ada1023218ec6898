"""Compare the contestants on a problem: tune each at 16 points, then train fresh seeds.

python -m benchmarks.contestants.run --problem curves
python -m benchmarks.contestants.run --problem curves --seconds 10     where nothing else runs

The same command again trains only what its store lacks.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import torch

import bench
from benchmarks import render
from benchmarks.contestants.entries import PROBLEMS, Contestant, contestants
from benchmarks.contestants.result import content, write

POINTS, TUNING_SEEDS = 16, 1
SEEDS = 12
"""The exact paired test has a least p of 2^(1 − n); 66 pairs and 12 seeds: 66 · 2^(−11) = 0.032."""
KRON = "PSGD Kron"
FILES = ("contestants", "contestants_seconds")
"""Results by gradient-equivalents, and by seconds."""


@click.command()
@click.option("--problem", type=click.Choice(PROBLEMS), default="curves", show_default=True)
@click.option("--seconds", type=float, help="Give each trial so many seconds, and run it alone.")
@click.option("--without", multiple=True, metavar="NAME", help="Leave out this contestant.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/contestants"),
    show_default=True,
    help="The store is in it.",
)
def main(problem: str, seconds: float | None, without: tuple[str, ...], folder: Path) -> None:
    """Train what is missing, write the result beside the others, and render RESULTS.md."""
    chosen = [each for each in contestants(problem) if each.name not in without]
    _check(problem, chosen, without)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        result = bench.compare(
            [each.entry for each in chosen],
            problem=problem,
            seeds=SEEDS,
            tune=POINTS,
            tune_seeds=TUNING_SEEDS,
            budget=None if seconds is None else f"seconds={seconds:g}",
            timed=seconds is not None,
            threads=1,
            device="cpu",
            store=f"sqlite:///{folder.resolve() / 'contestants.db'}",
            mlflow=False,
        )
    except bench.BenchError as error:
        click.echo(str(error), err=True)
        sys.exit(2 if isinstance(error, bench.Usage) else 4)
    click.echo(result)
    command = _command(problem, seconds, without)
    write(content(result, chosen, problem, command), problem, FILES[seconds is not None])
    render.write()


def _check(problem: str, chosen: list[Contestant], without: tuple[str, ...]) -> None:
    names = [each.name for each in contestants(problem)]
    if unknown := [name for name in without if name not in names]:
        raise click.UsageError(
            f"--without {unknown[0]!r}: there is no such contestant. There are {', '.join(names)}."
        )
    if len(chosen) < 2:
        raise click.UsageError("--without leaves fewer than two contestants. Leave fewer out.")
    if KRON in {each.name for each in chosen} and not torch.backends.opt_einsum.is_available():
        raise click.UsageError(
            f"{KRON} multiplies five matrices in one product, which takes gigabytes if torch does "
            f"it from left to right. Install opt_einsum, or add --without '{KRON}'."
        )


def _command(problem: str, seconds: float | None, without: tuple[str, ...]) -> str:
    words = ["python -m benchmarks.contestants.run --problem", problem]
    words += [] if seconds is None else [f"--seconds {seconds:g}"]
    return " ".join([*words, *(f"--without '{name}'" for name in without)])


if __name__ == "__main__":
    main()
