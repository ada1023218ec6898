"""The same fleets by two ranks, by two processes that know nothing of each other, and by one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.harness.store.results import Store
from benchmarks.ratios import LEAST

BENCH = (sys.executable, "-P", "-c", "from bench.harness.cli.main import main; main()")
POINTS = ("13.5", "13.51")
"""Two values of λ that make equal work: each of the two processes has one of them."""
LIMIT = 200.0
"""Seconds after which no further round begins, once there are LEAST."""
RANKS, PROCESSES, ONE = "2 ranks", "2 independent processes", "1 process"


@dataclass(frozen=True)
class Span:
    """What a store says of a command's trials."""

    trials: int
    seconds: float
    """From the first one's start to the last one's end."""
    start: float
    """Seconds from the command to the first one's start."""
    bytes: float
    """Of the store's file, over those of one that is empty, a trial."""

    @property
    def rate(self) -> float:
        """Trials a second."""
        return self.trials / self.seconds


def measure(smoke: bool) -> dict[str, Any]:
    """Return seconds of training, a round an item, of all fleets by each of the three.

    Of independent processes they are those at which both together go: fleets over the sum of
    the rates. `starts` is how long after its command each began to train.
    """
    seeds, gradients, rounds = (1, 20_000, 1) if smoke else (4, 250_000, 5)
    ways = {
        RANKS: [["--optimizers", _hf(*POINTS), "--threads=2", "--nproc-per-node=2"]],
        PROCESSES: [["--optimizers", _hf(point), "--threads=1"] for point in POINTS],
        ONE: [["--optimizers", _hf(*POINTS), "--threads=1"]],
    }
    usual = [f"--seeds={seeds}", f"--budget=gradients={gradients}"]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    starts: dict[str, list[float]] = {name: [] for name in ways}
    sizes: list[float] = []
    order, end = list(ways), time.perf_counter() + LIMIT
    for turn in range(rounds):
        if turn >= LEAST and time.perf_counter() > end:
            break
        for name in order:
            spans = at_once([[*command, *usual] for command in ways[name]])
            fleets = sum(span.trials for span in spans)
            seconds[name].append(fleets / sum(span.rate for span in spans))
            starts[name].append(max(span.start for span in spans))
            sizes += [span.bytes for span in spans]
        order.reverse()
    return {
        "fleets": len(POINTS) * seeds,
        "gradients": gradients,
        "seconds": seconds,
        "starts": starts,
        "bytes": max(sizes),
    }


def _hf(*points: str) -> str:
    return ",".join(f"hf[lam={point}]" for point in points)


def at_once(commands: Sequence[Sequence[str]]) -> list[Span]:
    """Give `bench compare` all at once, each with a store of its own, and return their spans."""
    with TemporaryDirectory() as folder:
        places = [Path(folder) / str(number) for number in range(len(commands))]
        sizes = [_made(place) for place in places]
        began = time.time()
        running = [
            subprocess.Popen(
                [*BENCH, "compare", *command, "--no-mlflow", f"--store={_url(place)}"],
                cwd=place,
                env=_environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for place, command in zip(places, commands, strict=True)
        ]
        said = [process.communicate()[1] for process in running]
        for process, text in zip(running, said, strict=True):
            if process.returncode:
                raise RuntimeError(f"bench compare ended with {process.returncode}:\n{text}")
        return [span(place, began, empty) for place, empty in zip(places, sizes, strict=True)]


def span(place: Path, began: float, empty: int) -> Span:
    """Return what the store in a folder says of a command that was given at `began`."""
    with Store.open(_url(place), create=False) as store:
        trials = store.trials()
        rows = {trial.fleet_rows for trial in trials}
        times = [(trial.started, trial.ended) for trial in trials]
    if rows != {1}:
        raise RuntimeError(f"Fleets of {rows} rows, where each was to have one.")
    first = min(started for started, _ in times if started is not None)
    last = max(ended for _, ended in times if ended is not None)
    return Span(
        len(trials),
        (last - first).total_seconds(),
        (first - datetime.fromtimestamp(began, UTC)).total_seconds(),
        (_file(place).stat().st_size - empty) / len(trials),
    )


def _made(place: Path) -> int:
    """Make an empty store, so that making it is no part of what is timed; return its size."""
    place.mkdir()
    Store.open(_url(place)).close()
    return _file(place).stat().st_size


def _file(place: Path) -> Path:
    return place / "bench.db"


def _url(place: Path) -> str:
    return f"sqlite:///{_file(place)}"


def _environment() -> dict[str, str]:
    """Return this environment without the person's settings of bench."""
    kept = ("BENCH_CACHE_DIR", "BENCH_DATA_DIR")
    return {k: v for k, v in os.environ.items() if k in kept or not k.startswith("BENCH_")}
