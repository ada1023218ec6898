r"""Hessian-free on the adding problem, with and without structural damping, until it is solved.

python -m benchmarks.hessian_free.adding --json benchmarks/results/adding.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch

from bench import optim
from bench.harness.core.defaults import tuned_values
from bench.harness.core.records import Measurement
from bench.harness.core.spec import Budget
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet, Progress
from bench.models.built_in import PROBLEMS
from bench.models.problem import DataSource
from bench.models.recurrent import SOLVED
from benchmarks.machine import machine

PRESET = "standard"
SEEDS = range(4)
EVALUATIONS = 100


class UntilSolved:
    """Keeps measurements, and stops when few enough test sequences are wrong."""

    def __init__(self) -> None:
        self.measurements: list[Measurement] = []

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        """Append."""
        self.measurements.append(measurement)

    def on_progress(self, progress: Progress) -> None:
        """Nothing to do."""

    def should_stop(self) -> bool:
        """Stop once it is solved."""
        return self.measurements[-1].test_metric < SOLVED


@click.command()
@click.option("--threads", default=1)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(threads: int, path: Path) -> None:
    """Run every seed with each strength of structural damping, on the CPU in float32."""
    torch.set_num_threads(threads)
    problem = PROBLEMS["add"](PRESET)
    data = DeviceData.from_data(problem.data(DataSource(())), torch.device("cpu"), torch.float32)
    settings = tuned_values("add", PRESET, "hf")
    content: dict[str, Any] = {
        "machine": machine(),
        "preset": PRESET,
        "T": problem.task.length,
        "sequences": data.test.cases,
        "budget": problem.budget,
        "runs": [],
    }
    for structural in (settings["structural"], 0.0):
        for seed in SEEDS:
            given = {**settings, "structural": structural}
            method = optim.resolve(f"hf[{','.join(f'{k}={v}' for k, v in given.items())}]")
            seen = UntilSolved()
            budget = Budget("gradients", problem.budget)
            fleet = Fleet(problem, data, method, [seed], budget, EVALUATIONS)
            fleet.run(seen)
            run = {
                "seed": seed,
                "commit": content["machine"]["commit"],
                "hyperparameters": dict(method.hyperparameters),
                "solved": seen.should_stop(),
                "curve": [asdict(each) for each in seen.measurements],
            }
            content["runs"].append(run)
            path.write_text(json.dumps(content, indent=1) + "\n")
            click.echo(_line(run, content["machine"]))


def section(content: Mapping[str, Any]) -> str:
    """Return the runs as a section of RESULTS.md."""
    where, runs = content["machine"], content["runs"]
    strengths = list(dict.fromkeys(run["hyperparameters"]["structural"] for run in runs))
    given = runs[0]["hyperparameters"]
    return "\n".join(
        [
            f"## Hessian-free on the adding problem, T = {content['T']}",
            "",
            f"{where['processor']}, threads: {where['threads']}, Python {where['python']}, torch "
            f"{where['torch']}; commit {where['commit']}, {where['date']}; float32.",
            "Again: `python -m benchmarks.hessian_free.adding --json "
            "benchmarks/results/adding.json`",
            "",
            "| structural damping μ | seed | solved | wrong | updates | CG steps | "
            "gradient-equivalents | seconds | commit |",
            "|---|---|---|---|---|---|---|---|---|",
            *(
                _line(run, where)
                for strength in strengths
                for run in runs
                if run["hyperparameters"]["structural"] == strength
            ),
            "",
            *(_summary(runs, strength) for strength in strengths),
            f"* Solved: under {SOLVED:.0%} of {content['sequences']:,} fresh sequences wrong, that "
            f"is off by more than 0.04, within {content['budget']:,} gradient-equivalents; a run "
            "ends at the first measurement at which it is.",
            f"* {given['batch']:,} new sequences for the gradient and "
            f"{-(-given['batch'] // given['chunks']):,} for the curvature in every iteration; "
            "Martens & Sutskever (2011) have 10,000 and 1,000.",
            # What is known of runs that were not made again with today's code.
            *(f"* {note}" for note in content.get("since", ())),
            "",
        ]
    )


def _line(run: Mapping[str, Any], where: Mapping[str, Any]) -> str:
    """Return a run as a row; runs of an earlier commit may stand beside others."""
    last, strength = run["curve"][-1], run["hyperparameters"]["structural"]
    ledger, commit = last["ledger"], run.get("commit", where["commit"])
    return (
        f"| {strength:.3g} | {run['seed']} | {'yes' if run['solved'] else 'no'} | "
        f"{last['test_metric']:.2%} | {ledger['updates']:,} | {ledger['cg_steps']:,} | "
        f"{ledger['gradients']:,.0f} | {ledger['seconds']:.0f} | {commit} |"
    )


def _summary(runs: Sequence[Mapping[str, Any]], strength: float) -> str:
    mine = [run for run in runs if run["hyperparameters"]["structural"] == strength]
    solved = [run["curve"][-1]["ledger"]["updates"] for run in mine if run["solved"]]
    after = f", after {median(solved):.0f} updates in the median" if solved else ""
    return f"* μ = {strength:.3g}: solved in {len(solved)} of {len(mine)} seeds{after}."


if __name__ == "__main__":
    main()
