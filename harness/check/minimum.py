"""An optimizer gets to the minimum of a convex quadratic that is known.

A step size is for a problem, so the one that a method comes with says little about another; the
law is that one of a few, a decade apart, gets there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.harness.check.laws import Broken
from bench.harness.check.observed_trial import Trial
from bench.harness.check.small_problems import Quadratic
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method

STEPS = 1_000
LOOKS = 50
"""Steps between two looks at f. Two in a row have to be close: passing by is not arriving."""
CLOSE = 1e-3
"""What may be left of f's excess over its minimum."""
STEP_SIZES = (1.0, 0.1, 0.01, 0.001, 10.0)
"""Values of lr, where a method has one, that are tried after the one that it comes with."""
DECAY = ("weight_decay", "l2")
"""Hyperparameters that move the minimum; they are set to 0."""


@dataclass(frozen=True)
class Reached:
    """What is left of f's excess after some steps, with these values set."""

    left: float
    steps: int
    values: dict[str, float]

    def __str__(self) -> str:
        said = "".join(f", {name}={value:g}" for name, value in self.values.items())
        return f"{self.left:.1e} of the way left after {self.steps} steps{said}"


def check(make: Callable[..., Method]) -> str:
    """See that f − f*, as a part of what it is at the start, gets below CLOSE and stays there.

    f(W) = mean over cases of ½ ‖xW − xW*‖² has curvatures of 0.1 to 1, and f* = 0 at W*, on any
    batch, so that no step size has to shrink.
    """
    founds = []
    for values in _tries(make()):
        found = _run(make, values)
        if found.left <= CLOSE:
            return str(found)
        founds.append(found)
    best = min(founds, key=lambda each: each.left)
    raise Broken(
        f"expected at most {CLOSE:g} of the way to the minimum left within {STEPS:,} steps, "
        f"at one step size; found at best {best}"
    )


def _tries(method: Method) -> Iterator[dict[str, float]]:
    """Yield the values that are set: no decay, and one step size after another."""
    space = {h.name: h for h in method.space}
    without = {name: 0.0 for name in DECAY if name in space}
    if "lr" not in space:
        yield without
        return
    own = float(method.hyperparameters["lr"])
    for lr in (own, *(lr for lr in STEP_SIZES if lr != own)):
        try:
            space["lr"].cast(lr, method.name)
        except UsageError:
            continue
        yield {"lr": lr, **without}


def _run(make: Callable[..., Method], values: dict[str, float]) -> Reached:
    trial = Trial(make(**values), Quadratic(), budget=STEPS)
    start, lefts = trial.loss(), [math.inf]
    while len(trial.reports) < STEPS and not trial.stopped:
        trial.step(LOOKS)
        left = trial.loss() / start
        if not math.isfinite(left):
            return Reached(math.inf, len(trial.reports), values)
        lefts.append(left)
        if max(lefts[-2:]) <= CLOSE:
            break
    worst = lefts[-1] if trial.stopped else max(lefts[-2:])
    return Reached(worst, len(trial.reports), values)
