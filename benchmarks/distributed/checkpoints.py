"""What a checkpoint takes: bytes, seconds, and its share of a run's time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bench.harness.core.records import Measurement
from bench.harness.core.spec import Budget
from bench.harness.distributed.ranks import SINGLE_PROCESS
from bench.harness.training.checkpoint import Checkpoints
from bench.harness.training.fleet import Fleet, Progress
from bench.models.deep_autoencoders import curves, mnist
from benchmarks.distributed.data_mode import Case

WRITES = 8
IMAGES = 500
"""So many random images: a state does not grow with the cases."""


@dataclass
class Timed:
    """A keeper of states that notes how long it took to write them."""

    checkpoints: Checkpoints
    spent: float = 0.0
    written: int = 0

    def due(self, elapsed: float) -> bool:
        """Say whether a state is to be kept."""
        return self.checkpoints.due(elapsed)

    def write(self, state: Mapping[str, Any]) -> None:
        """Keep it."""
        start = time.perf_counter()
        self.checkpoints.write(state)
        self.spent += time.perf_counter() - start
        self.written += 1


class Silent:
    """An observer that notes nothing."""

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        """Nothing to do."""

    def on_progress(self, progress: Progress) -> None:
        """Nothing to do."""

    def should_stop(self) -> bool:
        """Run to the end."""
        return False


def measure(smoke: bool) -> list[dict[str, Any]]:
    """Return for each case the bytes of a checkpoint and the seconds that writing took, a list.

    Where a run was made, also its seconds, and those and the number of its checkpoints.
    """
    sizes = [curves("quick")] if smoke else [curves("quick"), mnist("paper")]
    found = []
    for problem in sizes:
        for method in ("nag", "hf[lam=0.1,cg_max=20]"):
            case = Case(problem, method, 8 if smoke else 200, images=IMAGES)
            run = 0.0 if smoke or (method != "nag" and problem.name == "mnist") else 12.0
            found.append(_measured(case, run))
    return found


@torch.no_grad()
def _measured(case: Case, run_seconds: float) -> dict[str, Any]:
    fleet = case.fleet(1.0, SINGLE_PROCESS)
    # What a method keeps may be there only after its first step.
    fleet.advance()
    with TemporaryDirectory() as folder:
        kept = Checkpoints(Path(folder), "fleet", {}, print)
        seconds = [_write(kept, fleet) for _ in range(WRITES)]
        (newest, *_) = sorted(Path(folder).iterdir(), reverse=True)
        size = newest.stat().st_size
    return {
        "name": f"{case.problem.name}/{case.problem.preset}",
        "method": case.method,
        "parameters": case.problem.layout.count,
        "bytes": size,
        "seconds": seconds,
        **(_run(case, run_seconds) if run_seconds else {}),
    }


def _write(kept: Checkpoints, fleet: Fleet) -> float:
    start = time.perf_counter()
    kept.write(fleet.state_dict())
    return time.perf_counter() - start


def _run(case: Case, seconds: float) -> dict[str, Any]:
    """Train for so long as the training loop does, with checkpoints when they are due."""
    fleet = case.fleet(1.0, SINGLE_PROCESS, Budget("seconds", seconds))
    with TemporaryDirectory() as folder:
        keeper = Timed(Checkpoints(Path(folder), "fleet", {}, print))
        start = time.perf_counter()
        fleet.run(Silent(), keeper)
        return {
            "run": time.perf_counter() - start,
            "spent": keeper.spent,
            "written": keeper.written,
        }
