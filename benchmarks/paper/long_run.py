r"""One long trial of the published protocol, its curve written to JSON as it goes.

python -m benchmarks.paper.long_run --method hf --gradients 6e7 --below 1.0 \
        --json benchmarks/results/martens_log.json
python -m benchmarks.paper.long_run --method 'nag[lr=0.01,mu_max=0.99]' --updates 60000 \
        --json benchmarks/results/nag_curves_paper.json
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
import torch

from bench import optim
from bench.harness.core.paths import data_source
from bench.harness.core.records import Measurement
from bench.harness.core.spec import Budget
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet, Progress
from bench.models.built_in import PROBLEMS
from benchmarks.machine import machine


class Curve:
    """Keeps measurements, writes them after each, and stops below an error or when told to."""

    def __init__(self, path: Path, head: dict[str, object], below: float) -> None:
        self.path, self.head, self.below = path, head, below
        self.measurements: list[Measurement] = []

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        """Append and write."""
        self.measurements.append(measurement)
        self.write("running")
        ledger = measurement.ledger
        click.echo(
            f"{ledger.updates:8d} updates {ledger.cg_steps:7d} CG steps "
            f"{ledger.seconds:8.0f} s  train {measurement.train_metric:.4f}"
        )

    def on_progress(self, progress: Progress) -> None:
        """Nothing to do."""

    def should_stop(self) -> bool:
        """Stop once the training error is low enough."""
        return bool(self.measurements) and self.measurements[-1].train_metric < self.below

    def write(self, status: str) -> None:
        """Write the whole file anew."""
        content = {**self.head, "status": status, "curve": [asdict(m) for m in self.measurements]}
        self.path.write_text(json.dumps(content, indent=1) + "\n")


@click.command()
@click.option("--problem", default="curves")
@click.option("--preset", default="paper")
@click.option("--method", required=True)
@click.option("--gradients", type=float)
@click.option("--updates", type=float)
@click.option("--evaluations", default=120)
@click.option("--seed", default=0)
@click.option("--threads", default=1)
@click.option("--below", default=0.0, help="Stop once the training error is below this.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(
    problem: str,
    preset: str,
    method: str,
    gradients: float | None,
    updates: float | None,
    evaluations: int,
    seed: int,
    threads: int,
    below: float,
    path: Path,
) -> None:
    """Run one trial on the CPU in float32."""
    torch.set_num_threads(threads)
    chosen, resolved = PROBLEMS[problem](preset), optim.resolve(method)
    data = chosen.data(data_source(None))
    budget = Budget("gradients", gradients) if gradients else Budget("updates", updates or 1.0)
    head = {
        "problem": problem,
        "preset": preset,
        "data": data.name,
        "data_digest": data.digest,
        "method": resolved.name,
        "backend": resolved.backend,
        "hyperparameters": dict(resolved.hyperparameters),
        "budget": asdict(budget),
        "seed": seed,
        "stop_below": below,
        "machine": machine(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    curve = Curve(path, head, below)
    tensors = DeviceData.from_data(data, torch.device("cpu"), torch.float32)
    fleet = Fleet(chosen, tensors, resolved, [seed], budget, evaluations)
    outcome = fleet.run(curve)[0]
    curve.write("below" if outcome.status == "interrupted" else outcome.status)


if __name__ == "__main__":
    main()
