"""Compare the contestants on a problem: tune each at 16 points, then train fresh seeds.

python -m benchmarks.contestants.run --problem curves
python -m benchmarks.contestants.run --problem curves --only SOAP      beside those that were run
python -m benchmarks.contestants.run --problem curves --seconds 10     where nothing else runs

The same command again trains only what its store lacks. Contestants that are chosen by --only or
--without are one comparison, which is judged together with those of the others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import torch

import bench
from benchmarks import render
from benchmarks.contestants.entries import PROBLEMS, Contestant, contestants
from benchmarks.contestants.parts import joined, part, parts_beside
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
@click.option("--only", multiple=True, metavar="NAME", help="Train this contestant, and no other.")
@click.option("--without", multiple=True, metavar="NAME", help="Leave out this contestant.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/contestants"),
    show_default=True,
    help="The store is in it.",
)
def main(
    problem: str,
    seconds: float | None,
    only: tuple[str, ...],
    without: tuple[str, ...],
    folder: Path,
) -> None:
    """Train what is missing, write the result beside the others, and render RESULTS.md."""
    store = f"sqlite:///{folder.resolve() / 'contestants.db'}"
    chosen = _chosen(problem, only, without)
    # In seconds only one machine is fair to all.
    kept = [] if seconds is not None else parts_beside(problem, chosen, FILES[0], store)
    _check(chosen, kept)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        trained = bench.compare(
            [each.entry for each in chosen],
            problem=problem,
            seeds=SEEDS,
            tune=POINTS,
            tune_seeds=TUNING_SEEDS,
            budget=None if seconds is None else f"seconds={seconds:g}",
            timed=seconds is not None,
            threads=1,
            device="cpu",
            store=store,
            mlflow=False,
        )
        command = _command(problem, seconds, only, without)
        parts = [*kept, part(trained.id, chosen, command)]
        result = joined([each["comparison"] for each in parts], store) if kept else trained
    except bench.BenchError as error:
        click.echo(str(error), err=True)
        sys.exit(2 if isinstance(error, bench.Usage) else 4)
    click.echo(result)
    write(content(result, parts, problem), problem, FILES[seconds is not None])
    render.write()


def _chosen(problem: str, only: Sequence[str], without: Sequence[str]) -> list[Contestant]:
    all_of_them = contestants(problem)
    names = [each.name for each in all_of_them]
    for option, given in (("--only", only), ("--without", without)):
        if unknown := [name for name in given if name not in names]:
            raise click.UsageError(
                f"{option} {unknown[0]!r}: there is no such contestant. There are "
                f"{', '.join(names)}."
            )
    return [e for e in all_of_them if (not only or e.name in only) and e.name not in without]


def _check(chosen: Sequence[Contestant], kept: Sequence[object]) -> None:
    if len(chosen) + len(kept) < 2:
        raise click.UsageError("That is fewer than two contestants. Leave fewer out.")
    if KRON in {each.name for each in chosen} and not torch.backends.opt_einsum.is_available():
        raise click.UsageError(
            f"{KRON} multiplies five matrices in one product, which takes gigabytes if torch does "
            f"it from left to right. Install opt_einsum, or add --without '{KRON}'."
        )


def _command(
    problem: str, seconds: float | None, only: Sequence[str], without: Sequence[str]
) -> str:
    words = ["python -m benchmarks.contestants.run --problem", problem]
    words += [] if seconds is None else [f"--seconds {seconds:g}"]
    words += [f"--only '{name}'" for name in only]
    return " ".join([*words, *(f"--without '{name}'" for name in without)])


if __name__ == "__main__":
    main()
