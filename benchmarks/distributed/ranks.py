"""Training by several processes on this machine: their trials, one fleet, the store, checkpoints.

What `docs/scaling.md` says is reckoned from the same numbers, which are kept with the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.distributed import checkpoints, data_mode, stores, trials_mode
from benchmarks.distributed.data_mode import REDUCTION, SHARED, WHOLE
from benchmarks.distributed.trials_mode import ONE, PROCESSES, RANKS
from benchmarks.figures import Figure, Part, figure, rates
from benchmarks.machine import CPU

TRIALS_GOAL = 0.95
CHECKPOINTS_GOAL = 0.02
CALLED = {
    stores.LEASE: "a fleet leased and given back",
    stores.MEASUREMENT: f"{stores.ROWS} measurements entered",
    stores.HEARTBEAT: "a heartbeat",
}


@dataclass(frozen=True)
class Measured(Part):
    """A section, and what it was made from."""

    measured: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self, command: str, load: float, device: torch.device = CPU) -> dict[str, Any]:
        return {**super().as_json(command, load, device), "measured": self.measured}


def measure(smoke: bool, device: torch.device) -> Measured:
    """Measure both modes, the stores and checkpoints, one after another."""
    torch.set_num_threads(1)
    trials = trials_mode.measure(smoke)
    data = data_mode.measure(smoke)
    stored = stores.measure(smoke)
    kept = checkpoints.measure(smoke)
    return Measured(
        "Ranks",
        [
            *_trials(trials),
            *(each for case in data["cases"] for each in _data(case)),
            *_stores(stored),
            *_checkpoints(kept),
        ],
        (
            f"Mode trials: {trials['fleets']} equal fleets, hf on curves/quick with "
            f"{trials['gradients']:,} gradients each, a thread a process; without MLflow "
            "(--no-mlflow), each command with a new SQLite store. Start excluded: seconds are "
            "from the first trial's start to the last one's end, as the store has them, and of "
            "independent processes those at which both together go. Rounds take turns.",
            "Mode data: two ranks of a thread each, by gloo, with the same global batch as one; "
            "the loop's updates without its talks, five a second. Overhead is t₂ − t₁/2. The "
            "reduction is that of θ's gradient and the loss alone, lined up before; inside an "
            "update ranks wait for each other as well. An iteration of hf has 20 CG steps and sums "
            "more than one gradient. All candidates take turns in the same two processes.",
            f"Stores: workers are processes on this machine, beside the server where there is one; "
            f"{stores.FLEETS:,} fleets wait to be leased. What is compared is what all workers "
            "reach together."
            + (
                ""
                if "PostgreSQL" in stored
                else f" PostgreSQL is left out: {stores.POSTGRES} does not name a server."
            ),
            "Checkpoints: bytes and seconds of a single one are in docs/scaling.md.",
        ),
        ("sqlalchemy",),
        measured={"trials": trials, "data": data, "stores": stored, "checkpoints": kept},
    )


def _trials(found: Mapping[str, Any]) -> list[Figure]:
    case = f"{found['fleets']} fleets, hf on curves/quick"
    seconds, fleets = found["seconds"], found["fleets"]
    ranks = (RANKS, seconds[RANKS], fleets)
    return [
        rates(case, ranks, (PROCESSES, seconds[PROCESSES], fleets), "fleets/s", goal=TRIALS_GOAL),
        rates(case, ranks, (ONE, seconds[ONE], fleets), "fleets/s"),
    ]


def _data(case: Mapping[str, Any]) -> list[Figure]:
    name = f"{case['name']}, {case['method'].partition('[')[0]}, P = {case['parameters']:,}"
    seconds, unit = case["seconds"], case["unit"]
    pairs = zip(seconds[SHARED], seconds[WHOLE], strict=True)
    overhead = [two - one / 2 for two, one in pairs]
    shared = (f"the {unit} on 2 ranks", seconds[SHARED])
    return [
        figure(name, (f"an {unit} on 2 ranks", seconds[SHARED]), ("on 1", seconds[WHOLE])),
        figure(name, ("its overhead", overhead), shared),
        figure(name, ("one reduction of P numbers", seconds[REDUCTION]), shared),
    ]


def _stores(found: Mapping[str, Any]) -> list[Figure]:
    made = []
    for store, operations in found.items():
        for operation, reached in operations.items():
            one, *_, many = reached
            made.append(
                rates(
                    f"{store}: {CALLED[operation]}",
                    (f"{many} workers", _each(reached[many]["rates"]), 1),
                    (f"{one} worker", _each(reached[one]["rates"]), 1),
                    "/s",
                )
            )
    return made


def _each(rates: Sequence[float]) -> list[float]:
    """Return seconds of one operation."""
    return [1 / rate for rate in rates]


def _checkpoints(found: Sequence[Mapping[str, Any]]) -> list[Figure]:
    return [
        figure(
            f"{each['name']}, {each['method'].partition('[')[0]}",
            (f"its checkpoints ({each['written']})", [each["spent"]]),
            ("a run", [each["run"]]),
            goal=CHECKPOINTS_GOAL,
        )
        for each in found
        if "run" in each
    ]
