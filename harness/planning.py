"""A comparison → its trials → the fleets they run in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from harness.defaults import scaled_schedule, tuned
from harness.errors import Usage
from harness.fleet import updates_of
from harness.spec import Budget, MethodSpec, Protocol, TrialSpec
from models.problem import Data, Problem
from optim.objective import Method
from optim.registry import find, make
from optim.text import Written

Purpose = Literal["reported", "tuning"]

ROW_VALUES = 2**27
"""On a GPU a fleet holds at most so many parameters: some seven tensors of that size are alive."""
SMALL_ROW = 2**18
CPU_ROWS = 16
"""On a CPU rows of at most so many parameters go together, at most so many rows: a small network's
update is mostly overhead, which they share; a large one's is not."""


@dataclass(frozen=True)
class Candidate:
    """A method as it will be run, with the label it has in tables."""

    method: Method
    label: str

    @property
    def spec(self) -> MethodSpec:
        """Its name, backend and hyperparameters."""
        method = self.method
        return MethodSpec(method.name, method.backend, dict(method.hyperparameters))


@dataclass(frozen=True)
class Trial:
    """A candidate under a seed."""

    candidate: Candidate
    spec: TrialSpec
    purpose: Purpose


def protocol_of(problem: Problem, data: Data, budget: Budget, precision: str) -> Protocol:
    """Return what every trial of a comparison has in common."""
    return Protocol(
        problem=problem.name,
        parameters=dict(problem.parameters),
        preset=problem.preset,
        data=data.name,
        data_digest=data.digest,
        initialization=problem.initialization,
        objective=problem.loss.name,
        metric=f"train_{problem.metric.name}",
        direction=problem.metric.direction,
        budget=budget,
        precision=precision,  # type: ignore[arg-type]
        evaluations=problem.evaluations,
    )


def methods(written: Written, problem: Problem, budget: Budget, device: str) -> list[Method]:
    """Return the methods that a text means on this problem: one, or one a point of its grid.

    What the text leaves open comes from the tuned defaults, then from the declaration;
    below `paper` the schedule's period and final phase follow the budget in updates.
    """
    space = {h.name for h in find(written.name).space}
    defaults = {
        name: value
        for name, value in tuned(problem.name, problem.preset, written.name).items()
        if name in space
    }
    made = []
    for method in make(written, defaults, device):
        open_ = space - set(written.values) - set(defaults)
        scaled = scaled_schedule(problem.preset, space, updates_of(method, budget))
        scaled = {name: value for name, value in scaled.items() if name in open_}
        if scaled:
            method = type(method)(method.backend, **{**method.hyperparameters, **scaled})
        made.append(method)
    return made


def labelled(chosen: Sequence[Method]) -> list[Candidate]:
    """Label methods by name, and where a name occurs twice by what tells them apart."""
    labels = [method.name for method in chosen]
    for name in [name for name, count in Counter(labels).items() if count > 1]:
        same = [i for i, method in enumerate(chosen) if method.name == name]
        told_apart = _differing([chosen[i] for i in same])
        backends = len({chosen[i].backend for i in same}) > 1
        for i in same:
            inside = ",".join(f"{k}={chosen[i].hyperparameters[k]}" for k in told_apart)
            backend = f"@{chosen[i].backend}" if backends else ""
            labels[i] = f"{name}{backend}[{inside}]" if inside else f"{name}{backend}"
    if len(set(labels)) < len(labels):
        twice = next(label for label, count in Counter(labels).items() if count > 1)
        raise Usage(
            f"--optimizers: {twice} is there twice, with the same hyperparameters. (A class of "
            "your own needs a `name` of its own.)"
        )
    return [Candidate(m, label) for m, label in zip(chosen, labels, strict=True)]


def _differing(same: Sequence[Method]) -> list[str]:
    first = same[0].hyperparameters
    return [k for k in first if any(other.hyperparameters[k] != first[k] for other in same)]


def trials(
    candidates: Iterable[Candidate], protocol: Protocol, seeds: Sequence[int], purpose: Purpose
) -> list[Trial]:
    """Return every candidate under every seed, seed by seed, so that methods take turns."""
    every = list(candidates)
    return [
        Trial(candidate, TrialSpec(protocol, candidate.spec, seed), purpose)
        for seed in seeds
        for candidate in every
    ]


def fleets(
    planned: Sequence[Trial], problem: Problem, device: torch.device, timed: bool
) -> list[list[Trial]]:
    """Group trials into fleets, each to run as one tensor program; methods take turns.

    Rows that can be joined are, up to the memory they need on a GPU, and on a CPU where
    it pays (benchmarks/RESULTS.md, "K trials as one fleet"). A timed trial is always alone.
    """
    size = problem.layout.size
    if timed or (device.type == "cpu" and size > SMALL_ROW):
        return [[trial] for trial in planned]
    rows = CPU_ROWS if device.type == "cpu" else max(1, ROW_VALUES // size)
    groups: dict[object, list[Trial]] = {}
    for number, trial in enumerate(planned):
        key = trial.candidate.method.fleet_key
        groups.setdefault(("alone", number) if key is None else key, []).append(trial)
    return [
        group[start : start + rows]
        for group in groups.values()
        for start in range(0, len(group), rows)
    ]
