"""What is refused of a request before anything is run or written: Usage says what is allowed."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from bench.harness.core.errors import Usage
from bench.harness.core.spec import Budget
from bench.harness.planning import tuning
from bench.harness.planning.fleets import Candidate
from bench.harness.planning.request import Request
from bench.harness.training.fleet import updates_of
from bench.models.problem import Data, Problem
from bench.optim.objective import Method
from bench.optim.text import Written


def check_tune(tune: str, extend: bool) -> None:
    """Refuse what is no way to tune, or to extend what is tuned over."""
    if tune in ("none", "grid"):
        return
    if not tune.isdecimal() or not 2 <= int(tune) <= tuning.MOST_POINTS:
        raise Usage(
            f"--tune {tune}: allowed are none, grid, and a number from 2 to {tuning.MOST_POINTS}."
        )
    if extend:
        raise Usage(
            f"--extend --tune {tune}: N points of a range have no end that grows. Use --tune grid, "
            "or write grids, key=a|b|c."
        )


def check_effort(written: Sequence[Written], points: Sequence[Sequence[Method]]) -> None:
    """Refuse a different number of points for different methods."""
    if len({len(of_one) for of_one in points}) > 1:
        efforts = ", ".join(
            f"{entry.name} {len(of_one)}" for entry, of_one in zip(written, points, strict=True)
        )
        raise Usage(
            f"Every method gets the same number of tuning trials; these would differ: {efforts}. "
            "Write grids of the same size, or use --tune N."
        )


def check_grids(tune: str, written: Sequence[Written], points: Sequence[Sequence[Method]]) -> None:
    """Refuse to extend where a method has no grid that could grow."""
    for entry, of_one in zip(written, points, strict=True):
        if not tuning.axes(entry, of_one, tune):
            raise Usage(
                f"--extend: {entry.name} has no grid of numbers that could grow. Use --tune grid, "
                "or write one for every method, key=a|b|c."
            )


def check_possible(candidates: Sequence[Candidate], problem: Problem, data: Data) -> None:
    """Refuse now what the objective would refuse later, when other methods have trained."""
    has_states = type(problem).logits_and_states is not Problem.logits_and_states
    for candidate in candidates:
        given = candidate.method.hyperparameters
        if data.draw is not None and given.get("batch") == 0:
            raise Usage(
                f"--optimizers {candidate.label}: {problem.name} draws its training cases anew, so "
                "there is no whole training set; give a batch size, as in "
                f"{candidate.method.name}[batch=1000]."
            )
        if given.get("structural") and not has_states:
            raise Usage(
                f"--optimizers {candidate.label}: {problem.name} has no hidden state over time, "
                "which structural damping acts on; write structural=0."
            )


def check_updates(candidates: Sequence[Candidate], budget: Budget) -> None:
    """Refuse a budget that does not pay for one update."""
    for candidate in candidates:
        if updates_of(candidate.method, budget) == 0:
            raise Usage(
                f"--budget {budget.currency}={budget.amount:g} does not pay for one update of "
                f"{candidate.label}, which costs {candidate.method.cost_of_a_step:g}: "
                "give more, or a smaller batch."
            )


def check_ranks(request: Request) -> None:
    """Refuse ranks that cannot be started here; Usage says what is allowed."""
    nproc = request.nproc_per_node
    if request.timed and request.mode == "trials" and (request.plan or (nproc or 1) > 1):
        raise Usage(
            "--timed runs each trial alone on the machine, and --mode trials several at a time: "
            "leave one of them out, or write --mode data."
        )
    if nproc is None and request.mode == "data" and request.plan is None:
        raise Usage(
            "--mode data spreads a fleet over ranks: say over how many, as in --nproc-per-node 2, "
            "or write --plan FILE and start torchrun."
        )
    most, what = os.cpu_count() or 1, "cores"
    if torch.cuda.is_available() and request.device != "cpu":
        most, what = torch.cuda.device_count(), "GPUs"
    if nproc is not None and (nproc < 1 or (nproc > most and request.plan is None)):
        raise Usage(
            f"--nproc-per-node {nproc}: allowed are 1 to {most}, this machine's {what}. Several "
            "machines are started with --plan and torchrun."
        )
