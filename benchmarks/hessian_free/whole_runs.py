"""Whole runs of hf on curves: seconds to an error, ours against other people's products and HF."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from bench import optim
from bench.harness.core.defaults import tuned_values
from bench.harness.training.bound_objective import evaluate
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet
from bench.models.deep_autoencoders import DeepAutoencoder
from benchmarks.figures import Figure, Part, figure
from benchmarks.hessian_free import peer_hf
from benchmarks.hessian_free.backpack_products import BACKPACK, installed_backpack, with_backpack
from benchmarks.updates.fleets import UNLIMITED, load

OURS = "hf, hand-written passes"
GOAL = 1 / 1.4
"""Of ours in units of the run on BackPACK's products."""


@dataclass(frozen=True)
class Point:
    """Where a run stands after an iteration; the evaluation is off the clock."""

    seconds: float
    error: float
    cg_steps: int | None = None


Run = Callable[[int], Iterator[Point]]
"""Seed → the points of a run, each made when it is asked for."""


@dataclass(frozen=True)
class Limits:
    """Where runs end: at the last target if they have done `cg_steps`, else out of patience."""

    targets: Sequence[float]
    cg_steps: int
    seconds: float


def measure(smoke: bool, device: torch.device) -> Part:
    """Run every seed with every means in turn."""
    torch.set_num_threads(1)
    problem, data = load("quick", device)
    seeds, limits = range(5), Limits(problem.targets[:2], 2_000, 120.0)
    if smoke:
        seeds, limits = range(1), Limits((40.0,), 5, 2.0)
    runs: dict[str, Run] = {OURS: lambda seed: ours(problem, data, seed)}
    if installed_backpack():
        theirs = with_backpack(problem)
        runs[f"hf, {BACKPACK} products"] = lambda seed: ours(theirs, data, seed)
    if peer_hf.installed():
        runs[peer_hf.NAME] = lambda seed: peer_hf.train(
            problem, data, seed, _settings(problem), Point
        )
    curves = in_turn(runs, seeds, limits)
    figures, notes = [], list[str]()
    for name in list(runs)[1:]:
        goal = GOAL if BACKPACK in name else None
        more, missed = compared(problem, curves[OURS], name, curves[name], limits, goal)
        figures += more
        notes += missed
    return Part(
        "Whole runs of hf",
        figures,
        (
            f"{problem.notes}; every means has the same start, chunks and settings "
            f"({', '.join(f'{k} = {v:g}' for k, v in _settings(problem).items())}) under each of "
            f"{len(seeds)} seeds, and takes turns with the others. Seconds are those of training; "
            "the training squared error is looked at after every iteration, off the clock. Targets "
            "are the problem's, without the last, which takes hf many minutes.",
            *([] if peer_hf.installed() else [f"{peer_hf.NAME}: not installed."]),
            *(peer_hf.NOTES if peer_hf.installed() else ()),
            *notes,
        ),
        ("backpack-for-pytorch",),
    )


def ours(problem: DeepAutoencoder, data: DeviceData, seed: int) -> Iterator[Point]:
    """Yield a point after every iteration of hf through bench's loop."""
    device = data.train.inputs.device.type
    method = optim.resolve("hf", device)
    method = type(method)(method.backend, **_settings(problem))
    fleet = Fleet(problem, data, method, [seed], UNLIMITED, 2)
    account, report = fleet.account, dict[str, object]()
    with torch.no_grad():
        while "stop" not in report:
            account.clock.start()
            # Fleet.run evaluates on a grid of its budget; here every iteration is looked at.
            fleet.advance()
            account.clock.stop()
            report = dict(fleet._report)
            error = evaluate(problem, fleet.theta, data.train)[0].item()
            yield Point(account.clock.seconds, error, account.cg_steps)


def in_turn(
    runs: Mapping[str, Run], seeds: Sequence[int], limits: Limits
) -> dict[str, list[list[Point]]]:
    """Return every run's points, a list a seed; the order turns round from seed to seed."""
    curves: dict[str, list[list[Point]]] = {name: [] for name in runs}
    order = list(runs)
    # One iteration of each first: threads, memory and imports are then there.
    for run in runs.values():
        list(islice(run(seeds[0]), 1))
    for seed in seeds:
        for name in order:
            curves[name].append(list(_until(runs[name](seed), limits)))
        order.reverse()
    return curves


def _until(run: Iterator[Point], limits: Limits) -> Iterator[Point]:
    lowest = min(limits.targets)
    for point in run:
        yield point
        enough = point.cg_steps is None or point.cg_steps >= limits.cg_steps
        if (point.error <= lowest and enough) or point.seconds > limits.seconds:
            return


def compared(
    problem: DeepAutoencoder,
    mine: Sequence[Sequence[Point]],
    name: str,
    theirs: Sequence[Sequence[Point]],
    limits: Limits,
    goal: float | None,
) -> tuple[list[Figure], list[str]]:
    """Return ratios of seconds to each target and of a CG step, and who did not reach which.

    Ratios are taken under seeds with which both reached the target.
    """
    figures, notes = [], []
    case = f"{problem.name}/{problem.preset}"
    for target in limits.targets:
        a, b = ([reached(run, target) for run in runs] for runs in (mine, theirs))
        both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
        for who, times in ((OURS, a), (name, b)):
            if missed := times.count(None):
                notes.append(
                    f"Error {target:g}: not reached by {who} with {missed} of {len(times)} "
                    f"seeds within {limits.seconds:g} s."
                )
        if both:
            figures.append(
                figure(
                    f"{case}, to error {target:g}",
                    (OURS, [x for x, _ in both]),
                    (name, [y for _, y in both]),
                    goal=goal,
                )
            )
    if all(run[-1].cg_steps for run in [*mine, *theirs]):
        figures.append(
            figure(
                f"{case}, a CG step and its share of all else, {limits.cg_steps:,} steps",
                (OURS, [a_step(run, limits.cg_steps) for run in mine]),
                (name, [a_step(run, limits.cg_steps) for run in theirs]),
                goal=goal,
            )
        )
    return figures, notes


def reached(run: Sequence[Point], target: float) -> float | None:
    """Return the seconds after which the error was first at or below the target."""
    return next((point.seconds for point in run if point.error <= target), None)


def a_step(run: Sequence[Point], cg_steps: int) -> float:
    """Return seconds a CG step up to the first point with so many steps, or the last."""
    end = next((p for p in run if p.cg_steps and p.cg_steps >= cg_steps), run[-1])
    assert end.cg_steps
    return end.seconds / end.cg_steps


def _settings(problem: DeepAutoencoder) -> dict[str, float]:
    return tuned_values(problem.name, problem.preset, "hf")
