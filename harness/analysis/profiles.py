"""Data profiles: the share of targets reached within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.harness.analysis.targets import Course, amount, first_reaching
from bench.harness.analysis.verdict import Direction
from bench.harness.core.spec import CURRENCIES

STEPS = 5
"""Steps from one target of the problem to the next; the profile's targets lie between them."""

Profile = Mapping[str, list[list[float]]]
"""Currency → [spent, share] where the share rises, from [0, …] to the largest amount spent."""


def refined(targets: Sequence[float]) -> list[float]:
    """Return a problem's targets in order, with four more between every two neighbours.

    They are spaced evenly, in logarithms if both neighbours are positive. They depend only on the
    problem's targets, so they are fixed before anything is run.

    >>> [round(target, 3) for target in refined([32, 1])]
    [32.0, 16.0, 8.0, 4.0, 2.0, 1.0]
    """
    found = [float(target) for target in targets[:1]]
    for here, there in zip(targets, targets[1:], strict=False):
        space = np.geomspace if min(here, there) > 0 else np.linspace
        between = space(here, there, STEPS + 1)[1:-1]
        found += [*between.tolist(), float(there)]
    return found


def profile(courses: Sequence[Course], targets: Sequence[float], direction: Direction) -> Profile:
    """Return the share of (trial, target) pairs reached, as a step function of what was spent.

    share(x) = #{(i, j) : trial i reached target j having spent at most x} / (trials · targets)
    (Moré & Wild 2009, §2; Hansen et al. 2021, runtime distributions). Pairs that are never reached
    count in the denominator, so the share then stays below 1. There must be at least one trial and
    one target.
    """
    reaching = [
        first_reaching(c.measurements, target, direction) for c in courses for target in targets
    ]
    there = [ledger for ledger in reaching if ledger is not None]
    found = {}
    for currency in CURRENCIES:
        spent, counts = np.unique([amount(x, currency) for x in there], return_counts=True)
        shares = np.cumsum(counts) / len(reaching)
        steps = np.stack([spent, shares], axis=1).tolist()
        if not steps or steps[0][0] > 0:
            steps.insert(0, [0.0, 0.0])
        end = max(amount(course.spent, currency) for course in courses)
        if end > steps[-1][0]:
            steps.append([end, steps[-1][1]])
        found[currency] = steps
    return found
