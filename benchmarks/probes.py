"""What the probes, laws and digests around a comparison cost, against the program before them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from benchmarks.figures import Figure, Part, figure
from benchmarks.ratios import Timed, interleaved

ROOT = Path(__file__).parents[1]
REFERENCE = "5ba858d49906aa0e3ca6ea9763da395b5c9c2993"
"""The program before a module, an optimizer and data were probed."""
FOLDERS = ("bench", "harness", "models", "optim", "benchmarks", "examples", "pyproject.toml")

NOW, BEFORE = "this program", "before the probes"
COMPARISONS = {
    "nag,hf": ("nag,hf", "curves"),
    "a method from a file": ("nag,./examples/heavy_ball.py:HeavyBall", "curves"),
    "a torch optimizer": ("nag,torch.optim.AdamW", "curves"),
    "a module from a file": ("nag,torch.optim.AdamW", "./examples/own_module.py:make"),
}
"""What is compared → the entries and the problem."""
LIMIT = 240.0
"""Seconds for each case: whole processes differ by more than what is to be measured."""
BUDGET, SEEDS = "gradients=20000", "2"
GOAL_SECONDS, UPDATE_GOAL = 0.5, 1.01
BATCH, UPDATES = 200, 50

LOOP = f"""
import sys, time, torch
from benchmarks.updates.fleets import fleet_of, load, nags, updates
torch.set_num_threads(1)
device = torch.device("cpu")
problem, data = load("quick", device)
fleet = fleet_of(problem, data, nags([0], device, batch={BATCH}), [0])
timed = updates(fleet, {UPDATES})
for _ in sys.stdin:
    start = time.perf_counter()
    for _ in range(timed.repeat):
        timed.call()
    print(time.perf_counter() - start, flush=True)
"""
"""A process that makes some updates for each line that it reads, and prints their seconds."""


def measure(smoke: bool, device: torch.device) -> Part:
    """Time whole comparisons, and updates, by this program and by the reference in turns."""
    torch.set_num_threads(1)
    with reference() as before:
        folders = {NOW: ROOT, BEFORE: before}
        figures = [
            _comparison(what, *pair, folders, 1 if smoke else 12)
            for what, pair in list(COMPARISONS.items())[: 1 if smoke else None]
        ]
        figures.append(_updates(folders, 3 if smoke else 400))
    return Part(
        "What probes cost",
        figures,
        (
            f"Against commit {REFERENCE[:7]}, the last without the probes; its files are taken "
            "from the history.",
            "A comparison is a fresh process with a fresh store, "
            f"`--budget {BUDGET} --seeds {SEEDS} --no-mlflow`. *measured* is by how many seconds "
            "it takes longer now, round by round, and the goal is in seconds.",
            f"An update: nag on curves/quick, K = 1, B = {BATCH}, in two processes that take "
            f"turns; a round is {UPDATES} updates of each.",
        ),
    )


@contextmanager
def reference() -> Iterator[Path]:
    """Give a folder with the files of the reference commit."""
    with tempfile.TemporaryDirectory() as name:
        archive = subprocess.run(
            ["git", "archive", REFERENCE, *FOLDERS], cwd=ROOT, capture_output=True
        )
        if archive.returncode:
            raise RuntimeError(
                f"commit {REFERENCE[:7]} is not in this checkout's history; fetch it with "
                "`git fetch --unshallow`"
            )
        subprocess.run(["tar", "-x", "-C", name], input=archive.stdout, check=True)
        yield Path(name)


def _comparison(
    what: str, entries: str, problem: str, folders: dict[str, Path], rounds: int
) -> Figure:
    """Return by how much longer a comparison takes now."""
    seconds = interleaved(
        {
            name: Timed(lambda folder=folder: compare(folder, entries, problem))  # type: ignore[misc]
            for name, folder in folders.items()
        },
        rounds,
        limit=LIMIT,
    )
    more = [now - then for now, then in zip(seconds[NOW], seconds[BEFORE], strict=True)]
    return figure(
        f"a comparison: {what}",
        ("seconds added", more),
        (BEFORE, seconds[BEFORE]),
        goal_seconds=GOAL_SECONDS,
    )


def compare(folder: Path, entries: str, problem: str) -> None:
    """Run a comparison by the program in a folder, in a store of its own."""
    with tempfile.TemporaryDirectory() as store:
        subprocess.run(
            [sys.executable, "-P", "-m", "bench", "compare", "--optimizers", entries]
            + ["--problem", problem, "--budget", BUDGET, "--seeds", SEEDS, "--threads", "1"]
            + ["--no-mlflow", "--store", f"sqlite:///{store}/bench.db"],
            cwd=folder,
            env=_environment(folder),
            check=True,
            capture_output=True,
        )


def _updates(folders: dict[str, Path], rounds: int) -> Figure:
    """Return the ratio of an update's seconds."""
    with ExitStack() as stack:
        loops = {name: stack.enter_context(_loop(folder)) for name, folder in folders.items()}
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        order = list(loops)
        end = time.perf_counter() + LIMIT
        for turn in range(rounds):
            if turn > 3 and time.perf_counter() > end:
                break
            for name in order:
                seconds[name].append(_next(loops[name]) / UPDATES)
            order.reverse()
    return figure(
        f"an update: nag, curves/quick, B = {BATCH}",
        (NOW, seconds[NOW]),
        (BEFORE, seconds[BEFORE]),
        goal=UPDATE_GOAL,
    )


@contextmanager
def _loop(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", LOOP],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _next(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def _environment(folder: Path) -> dict[str, str]:
    """Return this process's variables, with one folder to import from, and one thread."""
    return os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
