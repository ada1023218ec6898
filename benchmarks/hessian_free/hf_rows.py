"""What K trials of hf as one program could gain: cheaper passes a trial, less lockstep waste."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from statistics import mean, median

import numpy as np
import torch
from torch import Tensor

from bench import optim
from bench.harness.core.defaults import tuned_values
from bench.harness.training.bound_objective import initial_parameters
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet
from bench.models.problem import Problem
from bench.models.recurrent import SequenceProblem
from bench.optim.hessian_free.batches import share
from benchmarks.figures import Figure, Part, figure, thread_counts
from benchmarks.ratios import Timed, interleaved
from benchmarks.updates.fleets import UNLIMITED, load

NEEDED = 1.3
"""The speed-up from which rows as one program would be worth their code."""
ROWS = 4, 16
SEEDS = 16
PRODUCT, GRADIENT = "product", "gradient"
SEQUENCES = 200


def measure(smoke: bool, device: torch.device) -> Part:
    """Time passes of K rows, and count the CG steps of runs under several seeds."""
    rounds, iterations, seeds = (3, 2, 4) if smoke else (40, 40, SEEDS)
    problem, data = load("quick", device)
    settings = tuned_values(problem.name, problem.preset, "hf")
    recurrent = SequenceProblem("add", "quick")
    drawn = recurrent.task.draw(np.random.default_rng(0), SEQUENCES * max(ROWS))
    x, t = (torch.from_numpy(each).to(device) for each in drawn)
    chunk = share(data.train.cases, settings["chunks"])
    figures = []
    for threads in thread_counts(smoke, device):
        torch.set_num_threads(threads)
        cases, targets = data.train.inputs[0], data.train.targets[0]
        figures += _at(problem, PRODUCT, cases, targets, chunk, rounds)
        figures += _at(problem, GRADIENT, cases, targets, len(cases), rounds)
        figures += _at(recurrent, PRODUCT, x, t, SEQUENCES, rounds)
    torch.set_num_threads(1)
    steps = [
        list(islice(cg_steps(problem, data, seed, settings), iterations)) for seed in range(seeds)
    ]
    return Part(
        "K trials of hf as one program: what it could gain",
        figures,
        (
            f"The cost a trial: seconds of one pass of K rows divided by K, over those of a pass "
            f"of one row. Products are on a curvature batch of hf ({chunk} cases for curves/quick, "
            "every row its own), gradients on the whole set.",
            *(sentence(problem, k, steps, figures) for k in ROWS if k <= seeds),
        ),
    )


def _at(
    problem: Problem, what: str, inputs: Tensor, targets: Tensor, cases: int, rounds: int
) -> list[Figure]:
    """Time one pass of 1, 4 and 16 rows on `cases` cases; on all of them rows share them."""
    passes, device = problem.passes(), inputs.device
    candidates = {}
    for k in (1, *ROWS):
        theta = initial_parameters(problem, list(range(k)), device, torch.float32)
        own = 1 if cases == len(inputs) else k
        x, t = (
            torch.stack([each.roll(-cases * row, 0)[:cases] for row in range(own)])
            for each in (inputs, targets)
        )
        if what == PRODUCT:
            call = partial(passes.curvature(theta, x, t), theta.clone())
        else:
            call = partial(passes.gradient, theta, x, t, theta.clone())
        candidates[str(k)] = Timed(call, 4 if k == 1 else 1)
    seconds = interleaved(candidates, rounds, device)
    return [
        figure(
            f"{problem.name}/{problem.preset}, hf's {what}, {cases} cases",
            (f"K = {k} as one program, a trial", [each / k for each in seconds[str(k)]]),
            ("one by one (K = 1)", seconds["1"]),
        )
        for k in ROWS
    ]


def cg_steps(
    problem: Problem, data: DeviceData, seed: int, settings: Mapping[str, object]
) -> Iterator[int]:
    """Yield how many CG steps each iteration of a run of hf takes."""
    default = optim.resolve("hf", data.train.inputs.device.type)
    method = type(default)(default.backend, **settings)
    fleet = Fleet(problem, data, method, [seed], UNLIMITED, 2)
    with torch.no_grad():
        while True:
            yield int(method.step(fleet.theta, fleet.objective, fleet.state)["cg_steps"])


def waste(steps: Sequence[Sequence[int]], k: int) -> float:
    """Return CG steps of K rows in lockstep over those of the same rows alone.

    Every iteration lasts as long as its longest row: Σ max / Σ mean over iterations and over
    groups of K of the runs. Runs that are shorter end the comparison.

    >>> waste([[10, 20], [20, 20]], 2)
    1.1428571428571428
    """
    groups = [steps[i : i + k] for i in range(0, len(steps) - k + 1, k)]
    iterations = [each for group in groups for each in zip(*group, strict=False)]
    return sum(map(max, iterations)) / sum(map(mean, iterations))


def sentence(
    problem: Problem, k: int, steps: Sequence[Sequence[int]], figures: Sequence[Figure]
) -> str:
    """Say what the speed-up would be at most, were CG all there is."""
    lockstep = waste(steps, k)
    cost = median(
        each.ratio["median"]
        for each in figures
        if each.threads == 1
        and each.case.startswith(f"{problem.name}/")
        and PRODUCT in each.case
        and each.measured.startswith(f"K = {k} ")
    )
    bound = 1 / (cost * lockstep)
    verdict = "worth it" if bound >= NEEDED else "not worth it"
    return (
        f"Lockstep, K = {k}: rows stop CG at different steps, and all wait for the last; over "
        f"{min(map(len, steps))} iterations of {len(steps)} runs that is {lockstep:.2f} times the "
        f"CG steps. With products at {cost:.2f} of the cost (1 thread) CG would become "
        f"{bound:.2f} times as fast: {verdict} (asked for: {NEEDED:g})."
    )
