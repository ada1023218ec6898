"""Checks of a request before anything is run or written; each raises Usage."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch

from bench.harness.core.errors import Usage
from bench.harness.core.spec import Budget
from bench.harness.planning import tuning
from bench.harness.planning.fleets import Candidate
from bench.harness.planning.request import Request, is_timed
from bench.harness.training.fleet import budgeted_updates
from bench.harness.training.method_layout import for_layout
from bench.models.errors import ProblemError
from bench.models.problem import Data, Problem
from bench.models.problem_checks import check_problem
from bench.optim.hessian_free.base import OneTrial
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method
from bench.optim.recipe.method import RecipeMethod, plain
from bench.optim.text import ParsedEntry
from bench.optim.torch.adapter import TorchMethod


def check_tune(tune: str, extend: bool) -> None:
    """Check the value of --tune, and whether --extend can be used with it."""
    if tune in ("none", "grid"):
        return
    if not tune.isdecimal() or not 2 <= int(tune) <= tuning.MAX_POINTS:
        raise Usage(
            f"--tune {tune}: allowed are none, grid, and a number from 2 to {tuning.MAX_POINTS}."
        )
    if extend:
        raise Usage(
            f"--extend --tune {tune}: only grids can be extended, not points in a range. Use "
            "--tune grid, or write grids, key=a|b|c."
        )


def check_effort(written: Sequence[ParsedEntry], points: Sequence[Sequence[Method]]) -> None:
    """Check that all methods have the same number of points."""
    if len({len(of_one) for of_one in points}) > 1:
        efforts = ", ".join(
            f"{entry.name} {len(of_one)}" for entry, of_one in zip(written, points, strict=True)
        )
        advice = "or use --tune N"
        if without := [entry.name for entry in written if not tuning.has_range(entry)]:
            advice += f" and write a range for {' and '.join(without)}, as in lr=0.001..0.1"
        raise Usage(
            f"Every method must have the same number of tuning points, but they differ: {efforts}. "
            f"Write grids of the same size, {advice}."
        )


def check_grids(
    tune: str, written: Sequence[ParsedEntry], points: Sequence[Sequence[Method]]
) -> None:
    """Check that every method has a grid of numbers, which --extend can extend."""
    for entry, of_one in zip(written, points, strict=True):
        if not tuning.axes(entry, of_one, tune):
            raise Usage(
                f"--extend: {entry.name} has no grid of numbers to extend. Use --tune grid, or "
                "write a grid for every method, key=a|b|c."
            )


def check_layout(candidates: Sequence[Candidate], problem: Problem, budget: Budget) -> None:
    """Check that every method can train the problem's network for the updates of the budget."""
    for candidate in candidates:
        try:
            method = for_layout(candidate.method, problem.layout)
            if isinstance(method, TorchMethod | RecipeMethod):
                method.check_budget(budgeted_updates(method, budget))
        except UsageError as error:
            raise Usage(f"--optimizers {candidate.label}: {error}") from error


def check_compatibility(candidates: Sequence[Candidate], problem: Problem, data: Data) -> None:
    """Check what the objective would refuse only later, after other methods have trained."""
    has_states = type(problem).logits_and_states is not Problem.logits_and_states
    for candidate in candidates:
        given = candidate.method.hyperparameters
        if data.draw is not None and given.get("batch") == 0:
            raise Usage(
                f"--optimizers {candidate.label}: {problem.name} draws new training cases for "
                "every batch, so there is no whole training set. Give a batch size, for example "
                f"{candidate.method.name}[batch=1000]."
            )
        if given.get("structural") and not has_states:
            raise Usage(
                f"--optimizers {candidate.label}: structural damping acts on the hidden states of "
                f"a recurrent network, and {problem.name} has none. Write structural=0."
            )


def check_network(
    text: str,
    candidates: Sequence[Candidate],
    problem: Problem,
    data: Data,
    dtype: torch.dtype,
) -> None:
    """Try the problem on a few cases, with the derivatives that the methods ask for."""
    curvature = any(isinstance(plain(candidate.method), OneTrial) for candidate in candidates)
    methods = [for_layout(candidate.method, problem.layout) for candidate in candidates]
    hessian = any(getattr(method, "hessian_part", 0) > 0 for method in methods)
    precision = np.float64 if dtype == torch.float64 else np.float32
    try:
        with torch.random.fork_rng(devices=[]):
            check_problem(problem, data, precision, curvature, hessian)
    except ProblemError as error:
        raise Usage(f"--problem {text}: {error}.") from error


def check_updates(candidates: Sequence[Candidate], budget: Budget) -> None:
    """Check that the budget suffices for at least one update of every method."""
    for candidate in candidates:
        if budgeted_updates(candidate.method, budget) == 0:
            raise Usage(
                f"--budget {budget.currency}={budget.amount:g} is less than one update of "
                f"{candidate.label} costs ({candidate.method.cost_of_a_step:g}). Give a larger "
                "budget or a smaller batch."
            )


def check_ranks(request: Request) -> None:
    """Check that the requested ranks can be started on this machine."""
    nproc = request.nproc_per_node
    if is_timed(request) and request.mode == "trials" and (request.plan or (nproc or 1) > 1):
        timed = "--timed" if request.timed else f"--budget {request.budget}"
        raise Usage(
            f"{timed} runs each trial alone on the machine, but --mode trials runs several at a "
            f"time. Leave out {timed} or the ranks, or use --mode data."
        )
    if nproc is None and request.mode == "data" and request.plan is None:
        raise Usage(
            "--mode data divides each fleet among ranks. Give their number, for example "
            "--nproc-per-node 2, or write a plan with --plan FILE and start torchrun."
        )
    most, what = os.cpu_count() or 1, "cores"
    if torch.cuda.is_available() and request.device != "cpu":
        most, what = torch.cuda.device_count(), "GPUs"
    if nproc is not None and (nproc < 1 or (nproc > most and request.plan is None)):
        raise Usage(
            f"--nproc-per-node {nproc}: allowed are 1 to {most}, the {what} of this machine. For "
            "several machines, use --plan and torchrun."
        )
