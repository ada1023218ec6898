"""How fast much is recorded, read back and listed, beside MLflow's client on the same database.

What many workers at once get from a store is `benchmarks/distributed/stores.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import MethodSpec, TrialSpec
from bench.harness.store.mlflow.mirror import initialise
from bench.harness.store.recorder import Recorder
from bench.harness.store.results import Store
from bench.harness.store.rows import VALUES
from benchmarks.distributed.stores import PLACES, PROTOCOL, begin, sqlite
from benchmarks.figures import Figure, Part, figure
from benchmarks.ratios import Timed, interleaved
from benchmarks.start import COMMANDS, HELP, PYTHON, run_python
from benchmarks.store.full_store import fill

DIAGNOSTICS = ("decrease", "lambda", "rate", "rho")
OURS, CLIENT = "bench", "MLflow's client"
# Points of one call of the client.
_BATCH = 1_000
RECORDED_SECONDS, READ_SECONDS, LISTED_SECONDS = 3.0, 0.3, 1.0
TIMES_FASTER = 20


@dataclass(frozen=True)
class Size:
    """How much is recorded, read and listed."""

    trials: int = 54
    measurements: int = 1_000
    share: int = 6
    """Of the trials, those that go through MLflow's client; its seconds are scaled up."""
    rounds: int = 5
    listed: int = 10_000
    comparisons: int = 300


SMOKE = Size(2, 20, 1, 1, 8, 2)


def measure(smoke: bool, device: torch.device) -> Part:
    """Time both in turns."""
    torch.set_num_threads(1)
    size, figures = SMOKE if smoke else Size(), []
    for name, place in PLACES.items():
        with place() as url:
            if url is not None:
                figures += _volume(name, url, size)
    with sqlite() as url:
        fill(url, size.listed, size.comparisons)
        figures += _lists(url, size)
    return Part(
        "The store",
        figures,
        (
            f"Recorded and read: {size.trials} trials × {size.measurements:,} measurements × "
            f"{len(VALUES) + len(DIAGNOSTICS)} values, and for bench the ledger with each. "
            "Recorded: from the first measurement that is handed to the recorder until the store "
            "has the last. Read: `store.measurements` of all trials, as a comparison asks for "
            "them.",
            "MLflow's client writes and reads the same values in the same database (SQLite in "
            f"WAL), by `log_batch` of {_BATCH:,} points and `get_metric_history`, for "
            f"{size.share} of the trials; its seconds are times {size.trials // size.share}.",
            f"Listed: a fresh process on a store in SQLite with {size.listed:,} trials in "
            f"{size.comparisons} comparisons. A list shows the newest 50 rows unless more are "
            "asked for.",
        ),
        ("sqlalchemy", "mlflow", "psycopg"),
    )


def _volume(name: str, url: str, size: Size) -> list[Figure]:
    """Record and read in one database."""
    taken = [_taken(trial, size.measurements) for trial in range(size.trials)]
    with Store.open(url) as store, TemporaryDirectory() as folder:
        initialise(url)
        ours = _Ours(store, taken, Path(folder))
        client = _Client(url, taken[: size.share])
        recorded = interleaved(
            {OURS: Timed(ours.record, before=ours.begin), CLIENT: Timed(client.record)},
            size.rounds,
        )
        read = interleaved({OURS: Timed(ours.read), CLIENT: Timed(client.read)}, size.rounds)
    goals = (RECORDED_SECONDS, READ_SECONDS) if name == "SQLite" else (None, None)
    return [
        figure(
            f"{name}: {what}",
            (OURS, seconds[OURS]),
            (CLIENT, [each * size.trials / size.share for each in seconds[CLIENT]]),
            goal=None if goal is None else 1 / TIMES_FASTER,
            goal_seconds=goal,
        )
        for what, seconds, goal in zip(("recorded", "read"), (recorded, read), goals, strict=True)
    ]


def _taken(trial: int, count: int) -> list[Measurement]:
    """Return measurements with numbers of full length, as a loss is, and no two alike."""
    found = []
    for index in range(count):
        value = 1 / (1 + index) + trial / 997
        ledger = Ledger(10 * index, 1000 * index, 1.5 * index, index, index, value, 2**30)
        shown = {name: value * (2 + k) / 3 for k, name in enumerate(DIAGNOSTICS)}
        found.append(Measurement(index, ledger, value, value / 3, value / 7, value / 9, shown))
    return found


class _Ours:
    def __init__(self, store: Store, taken: Sequence[Sequence[Measurement]], spool: Path) -> None:
        self._store, self._taken, self._spool = store, taken, spool
        self._comparison = store.new_comparison(PROTOCOL, "comparison", "bench compare")
        self._ids: list[int] = []

    def begin(self) -> None:
        """Enter new attempts at the trials."""
        spec = TrialSpec(PROTOCOL, MethodSpec("nag", "torch", {}), 0)
        self._ids = [
            begin(self._store, self._comparison, replace(spec, seed=seed))
            for seed in range(len(self._taken))
        ]

    def record(self) -> None:
        """Hand over all measurements, and wait until the store has them."""
        with Recorder(self._store, self._spool) as recorder:
            for measurements in zip(*self._taken, strict=True):
                for id, measurement in zip(self._ids, measurements, strict=True):
                    recorder.measure(id, measurement)

    def read(self) -> Any:
        """Read all back."""
        return self._store.measurements(self._ids)


class _Client:
    def __init__(self, url: str, taken: Sequence[Sequence[Measurement]]) -> None:
        from mlflow import MlflowClient

        self._client, self._taken = MlflowClient(tracking_uri=url), taken
        self._experiment = self._client.create_experiment("benchmark")
        self._runs: list[str] = []

    def record(self) -> None:
        """Write new runs."""
        from mlflow.entities import Metric

        self._runs = [
            self._client.create_run(self._experiment).info.run_id for _ in range(len(self._taken))
        ]
        for run_id, measurements in zip(self._runs, self._taken, strict=True):
            points = [
                Metric(name, value, 1000 * m.index, m.index)
                for m in measurements
                for name, value in _values(m).items()
            ]
            for start in range(0, len(points), _BATCH):
                self._client.log_batch(run_id, metrics=points[start : start + _BATCH])

    def read(self) -> Any:
        """Read all back."""
        names = _values(self._taken[0][0])
        return [
            [self._client.get_metric_history(run_id, name) for name in names]
            for run_id in self._runs
        ]


def _values(measurement: Measurement) -> dict[str, float]:
    values = {name: getattr(measurement, name) for name in VALUES}
    return {**values, **measurement.diagnostics}


def _lists(url: str, size: Size) -> list[Figure]:
    """Time what asks a full store, each in a process of its own."""
    asked = {
        "bench list comparisons": LISTED_SECONDS,
        "bench list trials": LISTED_SECONDS,
        "bench list trials --limit all": None,
        f"bench show {size.listed // 2}": None,
    }
    candidates = {
        command: Timed(lambda command=command: _bench(command, url))  # type: ignore[misc]
        for command in asked
    }
    candidates[PYTHON] = Timed(lambda: run_python(COMMANDS[PYTHON]))
    seconds = interleaved(candidates, 4 * size.rounds)
    return [
        figure("listed", (command, seconds[command]), (PYTHON, seconds[PYTHON]), goal_seconds=goal)
        for command, goal in asked.items()
    ]


def _bench(command: str, url: str) -> None:
    arguments = command.split()[1:]
    run_python([*COMMANDS[HELP][:-1], *arguments, "--store", url])
