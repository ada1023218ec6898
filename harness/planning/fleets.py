"""From methods to trials, and from trials to the fleets that train them together."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any, Literal, TypeVar

from bench.harness.core.defaults import scaled_schedule, tuned_values
from bench.harness.core.errors import Usage
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec, name_text
from bench.harness.training.fleet import budgeted_updates
from bench.harness.training.memory import MemoryModel
from bench.models.problem import Data, Problem
from bench.optim.momentum.methods import Momentum
from bench.optim.objective import Method
from bench.optim.recipe.hyperparameters import OF_A_RECIPE
from bench.optim.recipe.method import plain_class
from bench.optim.registry import class_of, make
from bench.optim.text import ParsedEntry

ACTIVE = ("clip_norm", "clip_value", "ema", "polyak")
"""Hyperparameters of a recipe that change a run at their defaults too."""
Purpose = Literal["reported", "tuning"]
T = TypeVar("T")

MAX_LABEL_LENGTH = 200
"""Characters of a method's label in tables and pictures; the full name is recorded beside it."""
MAX_CPU_ROWS = 16
MAX_CPU_OPERATIONS = 1.2e8
"""On a CPU, at most MAX_CPU_ROWS rows train together, and only if one row's gradient takes at most
MAX_CPU_OPERATIONS floating-point operations (about 6 for each weight, case and time step). Rows
share the overhead of an update, which matters only for small gradients. On one thread, each of 16
rows takes 0.35 to 0.7 of its time alone below 3e7 operations (add with 4 and 20 cases), 0.86 to
0.95 up to 1.1e8 (curves/quick, mnist/quick), and 0.95 to 1.05 above."""


@dataclass(frozen=True)
class Candidate:
    """A method to run, with its label in tables."""

    method: Method
    label: str

    @property
    def spec(self) -> MethodSpec:
        """The method's name, backend and hyperparameters."""
        method = self.method
        return MethodSpec(method.name, method.backend, dict(method.hyperparameters))


@dataclass(frozen=True)
class Trial:
    """One candidate with one seed."""

    candidate: Candidate
    spec: TrialSpec
    purpose: Purpose


def make_protocol(problem: Problem, data: Data, budget: Budget, precision: str) -> Protocol:
    """Return the protocol that all trials of a comparison share."""
    return Protocol(
        problem=problem.name,
        parameters=problem.identity,
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


def make_methods(
    written: ParsedEntry, problem: Problem, budget: Budget, device: str
) -> list[Method]:
    """Return the methods of an entry on this problem: one method, or one for each grid point.

    Values that the entry does not give come from the tuned defaults, then from the method's
    declaration. Below the preset `paper`, the schedule's period and final phase are scaled with the
    budget in updates. Where the number of updates is not known there is no final phase: final=0,
    and Usage if the entry asks for one.
    """
    space = {h.name for h in class_of(written).space}
    defaults = {
        name: value
        for name, value in tuned_values(problem.name, problem.preset, written.name).items()
        if name in space
    }
    made = []
    for method in make(written, defaults, device):
        open_ = space - set(written.values) - set(defaults)
        updates = budgeted_updates(method, budget)
        scaled = scaled_schedule(problem.preset, space, updates)
        scaled = {name: value for name, value in scaled.items() if name in open_}
        if updates is None and has_final_phase(type(method)):
            if "final" in written.values and method.hyperparameters["final"]:
                raise Usage(
                    f"{written.name}: final={method.hyperparameters['final']} asks for low "
                    f"momentum in the last updates, but with --budget {budget.text} nobody knows "
                    "which updates are the last. Write final=0, or give a budget in gradients, "
                    "updates or examples."
                )
            scaled["final"] = 0
        if scaled:
            method = type(method)(method.backend, **{**method.hyperparameters, **scaled})
        made.append(method)
    return made


def has_final_phase(kind: type) -> bool:
    """Return whether a method is one of momentum whose last updates have another one."""
    own = plain_class(kind)
    return issubclass(own, Momentum) and any(h.name == "final" for h in own.space)


def label_methods(chosen: Sequence[Method]) -> list[Candidate]:
    """Label methods by name, with their recipe and the values in which those of one name differ.

    A label has at most MAX_LABEL_LENGTH characters; a longer one is cut and ends in digits of the
    method's key. Raises Usage for a name or value that not every database can store.
    """
    _check_names(chosen)
    labels = [""] * len(chosen)
    for name in dict.fromkeys(method.name for method in chosen):
        same = [i for i, method in enumerate(chosen) if method.name == name]
        texts = _values_shown([chosen[i] for i in same])
        backends = len({chosen[i].backend for i in same}) > 1
        for i, inside in zip(same, texts, strict=True):
            backend = f"@{chosen[i].backend}" if backends else ""
            labels[i] = f"{name}{backend}[{inside}]" if inside else f"{name}{backend}"
    if len(set(labels)) < len(labels):
        twice = next(label for label, count in Counter(labels).items() if count > 1)
        raise Usage(
            f"--optimizers: {twice} is listed twice with the same hyperparameters. Remove one. "
            "(Every optimizer class of your own needs its own `name`.)"
        )
    return [_short(Candidate(m, label)) for m, label in zip(chosen, labels, strict=True)]


def _check_names(chosen: Sequence[Method]) -> None:
    """Refuse two classes with one name: their results would look like those of one method."""
    made_from: dict[str, object] = {}
    for method in chosen:
        kind = getattr(method, "made_from", None) or type(method)
        if type(method).__module__.startswith("bench.optim."):
            continue
        if made_from.setdefault(method.name, kind) is not kind:
            raise Usage(
                f"--optimizers: two classes on the list have the name {method.name!r}, so their "
                "results could not be told apart. Give every class its own `name`."
            )


def _short(candidate: Candidate) -> Candidate:
    key = candidate.spec.key
    if len(candidate.label) <= MAX_LABEL_LENGTH:
        return candidate
    return replace(candidate, label=f"{candidate.label[: MAX_LABEL_LENGTH - 10]}…~{key[:8]}")


def _values_shown(same: Sequence[Method]) -> list[str]:
    """Return the values that label each of some methods with one name.

    They are those of a recipe that clip, average or are not the defaults, and those in which the
    methods differ. A method without a part of a recipe differs from another with its defaults only
    where nothing else tells them apart.
    """
    defaults = {h.name: h.default for method in same for h in method.space}
    whole = [{**defaults, **method.hyperparameters} for method in same]
    every = dict.fromkeys(name for each in whole for name in each)
    names = [n for n in every if any(each.get(n) != whole[0].get(n) for each in whole)]
    texts = [_text(method, names, defaults) for method in same]
    if len(set(texts)) == len(texts):
        return texts
    unlike = [n for n in every if any(n not in method.hyperparameters for method in same)]
    return [_text(method, [*names, *unlike], defaults) for method in same]


def _text(method: Method, names: Sequence[str], defaults: Mapping[str, Any]) -> str:
    own = {h.name for h in plain_class(type(method)).space}
    return ",".join(
        f"{name}={name_text(value)}"
        for name, value in method.hyperparameters.items()
        if name in names
        or (name in OF_A_RECIPE and value != defaults.get(name))
        or (name in ACTIVE and name not in own)
    )


def make_trials(
    candidates: Iterable[Candidate], protocol: Protocol, seeds: Sequence[int], purpose: Purpose
) -> list[Trial]:
    """Return every candidate with every seed, ordered by seed, so that methods alternate."""
    every = list(candidates)
    return [
        Trial(candidate, TrialSpec(protocol, candidate.spec, seed), purpose)
        for seed in seeds
        for candidate in every
    ]


def group_into_fleets(
    planned: Sequence[Trial], memory: MemoryModel, timed: bool, min_fleets: int = 1
) -> list[list[Trial]]:
    """Group trials into fleets that run as one tensor program each; methods alternate.

    Trials with the same `fleet_key` are grouped as far as the memory allows, and on a CPU only
    where that saves time. The result has at least `min_fleets` fleets if there are enough trials. A
    timed trial is always alone. Raises Infrastructure if the memory is too small for one trial.
    """
    groups: dict[object, list[Trial]] = {}
    for number, trial in enumerate(planned):
        key = None if timed else trial.candidate.method.fleet_key
        groups.setdefault(("alone", number) if key is None else key, []).append(trial)
    cut = []
    for group in groups.values():
        every = [trial.candidate.method for trial in group]
        wanted = min(len(group), max_useful_rows(memory, every[0]))
        cut += split_by_seed(group, memory.rows_that_fit(every, wanted), min_fleets)
    turn = {id(trial): number for number, trial in enumerate(planned)}
    return sorted(cut, key=lambda fleet: turn[id(fleet[0])])


def max_useful_rows(memory: MemoryModel, method: Method) -> int:
    """Return the largest number of rows of a method that saves time, without regard to memory."""
    if memory.device.type != "cpu":
        return sys.maxsize
    return MAX_CPU_ROWS if memory.operations(method) <= MAX_CPU_OPERATIONS else 1


def split_by_seed(group: Sequence[Trial], most: int, least: int = 1) -> list[list[Trial]]:
    """Split trials into fleets of at most `most` trials and of nearly equal size.

    A fleet contains whole seeds with equally many trials of each, seed by seed, so that the trials
    of a seed share its batches. A fleet contains a part of one seed if the seed has more trials
    than fit, or if there are too few seeds for `least` fleets. Seeds with different numbers of
    trials are never in the same fleet. There are at least `least` fleets if there are that many
    trials.
    """
    of_seed: dict[int, list[Trial]] = {}
    for trial in group:
        of_seed.setdefault(trial.spec.seed, []).append(trial)
    alike: dict[int, list[list[Trial]]] = {}
    for rows in of_seed.values():
        alike.setdefault(len(rows), []).append(rows)
    cut: list[list[Trial]] = []
    for each, seeds in alike.items():
        # These seeds get the same share of the fleets as they have of the trials.
        wanted = _ceil(min(least, len(group)) * each * len(seeds), len(group))
        if each > most or len(seeds) < wanted:
            parts = max(_ceil(each, most), _ceil(wanted, len(seeds)))
            cut += [part for rows in seeds for part in _evenly(rows, parts)]
        else:
            parts = max(_ceil(len(seeds), most // each), wanted)
            cut += [list(chain(*some)) for some in _evenly(seeds, parts)]
    return cut


def _evenly(items: Sequence[T], parts: int) -> list[list[T]]:
    """Split items into parts whose sizes differ by at most 1."""
    ends = [len(items) * i // parts for i in range(parts + 1)]
    return [list(items[start:end]) for start, end in pairwise(ends)]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
