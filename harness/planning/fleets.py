"""A comparison → its trials → the fleets they run in."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Literal, TypeVar

from bench.harness.core.defaults import scaled_schedule, tuned
from bench.harness.core.errors import Usage
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec
from bench.harness.training.fleet import updates_of
from bench.harness.training.memory import Memory
from bench.models.problem import Data, Problem
from bench.optim.objective import Method
from bench.optim.registry import find, make
from bench.optim.text import Written

Purpose = Literal["reported", "tuning"]
T = TypeVar("T")

LABEL_LENGTH = 200
"""Of what a method is called in tables and pictures; its name is recorded whole beside it."""
CPU_ROWS = 16
CPU_OPERATIONS = 1.2e8
"""On a CPU rows go together, at most so many, where a gradient takes at most so many floating-point
operations a row: about 6 to each weight, case and time step. An update is partly overhead then,
which they share. On one thread 16 rows cost 0.35 to 0.7 of one by one, each, below 3e7 of them (add
at 4 and 20 cases), 0.86 to 0.95 up to 1.1e8 (curves/quick, mnist/quick), and above 0.95 to 1.05."""


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
    """Label methods by name, and where a name occurs twice by what tells them apart.

    A label has LABEL_LENGTH characters at most; a longer one is cut and ends in digits of the
    method's key. Usage for a name or value that not every database can store.
    """
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
    return [_short(Candidate(m, label)) for m, label in zip(chosen, labels, strict=True)]


def _short(candidate: Candidate) -> Candidate:
    key = candidate.spec.key
    if len(candidate.label) <= LABEL_LENGTH:
        return candidate
    return replace(candidate, label=f"{candidate.label[: LABEL_LENGTH - 10]}…~{key[:8]}")


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


def into_fleets(
    planned: Sequence[Trial], memory: Memory, timed: bool, at_once: int = 1
) -> list[list[Trial]]:
    """Group trials into fleets, each to run as one tensor program; methods take turns.

    Rows that can be joined are, as far as memory reaches, and on a CPU where it pays; but rows
    that could keep `at_once` fleets busy are not joined to fewer. A timed trial is always alone.
    Infrastructure where the memory does not do for a single trial.
    """
    groups: dict[object, list[Trial]] = {}
    for number, trial in enumerate(planned):
        key = None if timed else trial.candidate.method.fleet_key
        groups.setdefault(("alone", number) if key is None else key, []).append(trial)
    cut = []
    for group in groups.values():
        every = [trial.candidate.method for trial in group]
        wanted = min(len(group), worth_joining(memory, every[0]))
        cut += by_seed(group, memory.rows(every, wanted), at_once)
    turn = {id(trial): number for number, trial in enumerate(planned)}
    return sorted(cut, key=lambda fleet: turn[id(fleet[0])])


def worth_joining(memory: Memory, method: Method) -> int:
    """Return how many rows of a method it is worth to join, whatever memory they need."""
    if memory.device.type != "cpu":
        return sys.maxsize
    return CPU_ROWS if memory.operations(method) <= CPU_OPERATIONS else 1


def by_seed(group: Sequence[Trial], most: int, least: int = 1) -> list[list[Trial]]:
    """Cut trials that can be joined into fleets of at most so many, and as equal as can be.

    A fleet has whole seeds, equally many trials of each, one seed after another, so that those of
    a seed share its batches; or it has a part of one seed, where that has more trials than fit, or
    there are too few seeds for `least` fleets. Seeds with different numbers of trials are not
    joined. There are at least `least` fleets, if there are as many trials.
    """
    of_seed: dict[int, list[Trial]] = {}
    for trial in group:
        of_seed.setdefault(trial.spec.seed, []).append(trial)
    alike: dict[int, list[list[Trial]]] = {}
    for rows in of_seed.values():
        alike.setdefault(len(rows), []).append(rows)
    cut: list[list[Trial]] = []
    for each, seeds in alike.items():
        # Of the fleets that there are to be, as large a share as of the trials.
        wanted = _ceil(min(least, len(group)) * each * len(seeds), len(group))
        if each > most or len(seeds) < wanted:
            parts = max(_ceil(each, most), _ceil(wanted, len(seeds)))
            cut += [part for rows in seeds for part in _evenly(rows, parts)]
        else:
            parts = max(_ceil(len(seeds), most // each), wanted)
            cut += [list(chain(*some)) for some in _evenly(seeds, parts)]
    return cut


def _evenly(items: Sequence[T], parts: int) -> list[list[T]]:
    """Cut into so many parts; their sizes differ by 1 at most."""
    ends = [len(items) * i // parts for i in range(parts + 1)]
    return [list(items[start:end]) for start, end in pairwise(ends)]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
