"""Over how many processes the fleets of a plan are spread on a CPU: what they cost decides.

Fleets of a thread each, side by side, take less time than one after the other on all threads:
an update is too short to be shared well, and a thread that waits for one that another program
has pushed aside waits for long. But a process has to start first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.harness.planning.fleets import Trial
from bench.models.problem import Data, Problem

OPERATIONS_A_SECOND = 1e11
"""Of one thread in the matrix products of these networks, float32."""
PAYS_FROM = 35.0
"""Seconds of work, on one thread, from which it pays to start processes. They take 5 to begin, and
save of two threads' time a twentieth where the machine does nothing else, a fifth beside MLflow's
mirror, and more than half beside another program; `bench compare --optimizers nag,hf` is 38."""


def seconds_of(fleet: Sequence[Trial], problem: Problem, data: Data) -> float:
    """Return about how long a fleet takes on one thread, from counted operations.

    A gradient-equivalent is 6 operations a parameter, at every step of a sequence (N, S, F).
    Where a step has no fixed cost, it is taken for one gradient on the whole training set.
    """
    budget = fleet[0].spec.protocol.budget
    if budget.currency == "seconds":
        return budget.amount
    inputs = data.train_inputs
    steps = inputs.shape[1] if inputs.ndim == 3 else 1
    a_second = OPERATIONS_A_SECOND / (6 * problem.layout.size * steps)
    gradients = 0.0
    for trial in fleet:
        update = trial.candidate.method.cost_of_a_step or len(inputs)
        gradients += budget.amount * (update if budget.currency == "updates" else 1)
    return gradients / a_second


def processes(seconds: Sequence[float], threads: int) -> int:
    """Return over how many processes fleets that take so long are spread; 1: they stay here.

    No more than keep busy while the longest fleet runs, which is better off with their threads.
    """
    whole = sum(seconds)
    if whole < PAYS_FROM:
        return 1
    return min(threads, math.floor(whole / max(seconds) * (1 + 1e-9)))
