"""The law that an optimizer reaches the known minimum of a convex quadratic.

A good step size depends on the problem, so a method's default proves little here. The law demands
that one of a few step sizes, a decade apart, reaches the minimum.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from bench.harness.check.laws import LawViolation, NotApplicable
from bench.harness.check.observed_trial import ObservedTrial
from bench.harness.check.small_problems import Quadratic
from bench.harness.training.method_layout import for_layout
from bench.optim.hyperparameters import Hyperparameter, UsageError
from bench.optim.objective import Method
from bench.optim.values import Value, value_text
from bench.optim.wrapper_text import INNER

STEPS = 1_000
CHECK_INTERVAL = 50
"""Steps between two evaluations of f. Two in a row must be close: one alone may be an overshoot."""
TOLERANCE = 1e-3
"""The allowed rest of f's initial excess over its minimum, as a fraction."""
STEP_SIZES = (1.0, 0.1, 0.01, 0.001, 10.0)
"""Values of lr to try after the method's own, the same in all its parts, if it has an lr."""
DECAY = ("weight_decay", "l2")
"""Hyperparameters that move the minimum; they are set to 0."""


@dataclass(frozen=True)
class MinimumResult:
    """The remaining fraction of f's excess after some steps, with these values set."""

    left: float
    steps: int
    values: dict[str, Value]

    def __str__(self) -> str:
        said = "".join(f", {name}={value_text(value)}" for name, value in self.values.items())
        return f"{self.left:.1e} of the initial excess left after {self.steps} steps{said}"


def check(make: Callable[..., Method], dtype: torch.dtype = torch.float64) -> str:
    """Check that f − f*, as a fraction of its initial value, falls below TOLERANCE and stays there.

    f(W) = mean over cases of ½ ‖xW − xW*‖² has curvatures of 0.1 to 1 and f* = 0 at W* on every
    batch, so a constant step size suffices.
    """
    _check_takes_a_matrix(make())
    founds = []
    for values in _settings_to_try(make()):
        found = _run(make, values, dtype)
        if found.left <= TOLERANCE:
            return str(found)
        founds.append(found)
    best = min(founds, key=lambda each: each.left)
    raise LawViolation(
        f"expected at most {TOLERANCE:g} of the initial excess left within {STEPS:,} steps with "
        f"one of the step sizes; the best found is {best}"
    )


def _check_takes_a_matrix(method: Method) -> None:
    try:
        for_layout(method, Quadratic().layout)
    except UsageError as error:
        raise NotApplicable(f"the quadratic has a single matrix. {error}") from error


def _settings_to_try(method: Method) -> Iterator[dict[str, Value]]:
    """Yield the values to set: no decay, and one step size after another."""
    without: dict[str, Value] = {h.name: 0.0 for h in method.space if _own(h) in DECAY}
    rates = [h for h in method.space if _own(h) == "lr"]
    if not rates:
        yield without
        return
    own = {h.name: method.hyperparameters[h.name] for h in rates}
    # The step size may be none, for a method that finds one itself.
    for lr in (None, *(lr for lr in STEP_SIZES if {lr} != {*own.values()})):
        values = own if lr is None else dict.fromkeys(own, lr)
        try:
            for h in rates:
                h.cast(values[h.name], method.name)
        except UsageError:
            continue
        yield {**values, **without}


def _own(h: Hyperparameter) -> str:
    """Return a hyperparameter's own name, without a part, an inner optimizer and a selector."""
    # Such as 1.inner.lr.matrices.
    return re.sub(rf"^(\d+\.|{re.escape(INNER)})*", "", h.name).partition(".")[0]


def _run(
    make: Callable[..., Method], values: dict[str, Value], dtype: torch.dtype
) -> MinimumResult:
    trial = ObservedTrial(make(**values), Quadratic(), budget=STEPS, dtype=dtype)
    start, lefts = trial.loss(), [math.inf]
    while len(trial.reports) < STEPS and not trial.stopped:
        trial.step(CHECK_INTERVAL)
        left = trial.loss() / start
        if not math.isfinite(left):
            return MinimumResult(math.inf, len(trial.reports), values)
        lefts.append(left)
        if max(lefts[-2:]) <= TOLERANCE:
            break
    worst = lefts[-1] if trial.stopped else max(lefts[-2:])
    return MinimumResult(worst, len(trial.reports), values)
