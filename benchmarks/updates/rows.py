"""The cost of a trial in a fleet of K rows against the same trial alone, and of diverged rows."""

from __future__ import annotations

import math

import torch

from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet
from bench.models.problem import DataSource, Problem
from bench.models.recurrent import SequenceProblem
from benchmarks.figures import Figure, Part, figure, thread_counts
from benchmarks.ratios import interleaved
from benchmarks.updates.fleets import fleet_of, load, nags, updates

ONE = "one by one (K = 1)"
ROUNDS = {"quick": 200, "paper": 40}
"""Preset → rounds: what is quick is timed more often."""
TOGETHER = 4, 16
SEQUENCES = 4
GOAL = 1 / 1.5
"""Of a recurrent network's trial among 16 at a small batch, in units of one alone."""
RATES = {"curves": 0.01, "add": 0.001}


def measure(smoke: bool, device: torch.device) -> Part:
    """Time an update of K = 1, 4 and 16 rows, and one of 16 of which half have diverged."""
    figures = []
    for preset, rounds in ({"quick": 3} if smoke else ROUNDS).items():
        problem, data = load(preset, device)
        for threads in thread_counts(smoke, device):
            torch.set_num_threads(threads)
            for batch in (100, 200):
                figures += _at(problem, data, batch, rounds)
            figures.append(_diverged(problem, data, batch, rounds))
    length, rounds = (20, 3) if smoke else (80, 40)
    recurrent = SequenceProblem("add", "quick" if smoke else "paper", T=length)
    data = DeviceData.from_data(recurrent.data(DataSource(())), device, torch.float32)
    for threads in thread_counts(smoke, device):
        torch.set_num_threads(threads)
        figures += _at(recurrent, data, SEQUENCES, rounds, GOAL)
    return Part(
        "K trials as one fleet against one by one",
        figures,
        (
            "The cost a trial: the seconds of one update of the fleet divided by K, over those of "
            "an update of a fleet of one row; below 1 the fleet is cheaper. Rows have a seed, and "
            "so minibatches, of their own, or one seed, and then they share them. A round is 4 "
            "updates with K = 1 and one with each other K; on a GPU the loop makes more at a time, "
            "and they are counted.",
            "The recurrent network's sequences are drawn anew in blocks of 1,000 by a thread of "
            "their own, in few of the rounds.",
            "Diverged rows: an update of 16 rows of which 8 are NaN, as a fleet that left none out "
            "would make it, over one of 8 rows. What it is above 1 is what leaving them out saves.",
        ),
    )


def _at(
    problem: Problem, data: DeviceData, batch: int, rounds: int, goal: float | None = None
) -> list[Figure]:
    candidates = {ONE: updates(_fleet(problem, data, batch, [0]), 4)}
    named = {
        f"K = {k} as one fleet, {seeds}, a trial": (k, own)
        for k in TOGETHER
        for seeds, own in (("a seed each", range(k)), ("one seed", [0] * k))
    }
    for name, (_, seeds) in named.items():
        candidates[name] = updates(_fleet(problem, data, batch, list(seeds)))
    seconds = interleaved(candidates, rounds, data.train.inputs.device)
    return [
        figure(
            _case(problem, batch),
            (name, [each / k for each in seconds[name]]),
            (ONE, seconds[ONE]),
            goal=goal if k == max(TOGETHER) else None,
        )
        for name, (k, _) in named.items()
    ]


def _diverged(problem: Problem, data: DeviceData, batch: int, rounds: int) -> Figure:
    most = max(TOGETHER)
    half = most // 2
    whole, left = (_fleet(problem, data, batch, list(range(k))) for k in (most, half))
    for tensor in (whole.theta, whole.state.v):
        tensor[half:] = math.nan
    names = f"K = {most}, {half} of them diverged, an update", f"K = {half}, an update"
    candidates = {name: updates(fleet) for name, fleet in zip(names, (whole, left), strict=True)}
    seconds = interleaved(candidates, rounds, data.train.inputs.device)
    mine, theirs = names
    return figure(_case(problem, batch), (mine, seconds[mine]), (theirs, seconds[theirs]))


def _fleet(problem: Problem, data: DeviceData, batch: int, seeds: list[int]) -> Fleet:
    device = data.train.inputs.device
    methods = nags(seeds, device, batch=batch, lr=RATES[problem.name])
    return fleet_of(problem, data, methods, seeds)


def _case(problem: Problem, batch: int) -> str:
    parameters = "".join(f", {key} = {value}" for key, value in problem.parameters.items())
    return f"{problem.name}/{problem.preset}{parameters}, B = {batch}"
