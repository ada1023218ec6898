"""The number of processes that train the fleets of a plan on a CPU, from the fleets' cost.

Several fleets at the same time, with one thread each, are faster than one fleet after the other on
all threads. An update is too short to be divided well among threads, and if another program
interrupts one thread, all the others wait for it. But a process takes time to start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.harness.planning.fleets import Trial
from bench.models.problem import Data, Problem

OPERATIONS_PER_SECOND = 1e11
"""Operations per second of one thread in the float32 matrix products of these networks."""
MIN_SECONDS_FOR_PROCESSES = 35.0
"""Seconds of work on one thread from which processes save time. Starting them takes 5 seconds.
They save a twentieth of two threads' time on an idle machine, a fifth while results are copied to
MLflow, and more than half beside another program. `bench compare --optimizers nag,hf` takes 38
seconds."""


def estimated_seconds(fleet: Sequence[Trial], problem: Problem, data: Data) -> float:
    """Estimate the seconds of a fleet on one thread from its number of operations.

    A gradient-equivalent is 6 operations per parameter and, for sequences (N, S, F), per time
    step. A method without a fixed cost of a step counts as one gradient on the whole training set.
    """
    budget = fleet[0].spec.protocol.budget
    if budget.currency == "seconds":
        return budget.amount
    inputs = data.train_inputs
    steps = inputs.shape[1] if inputs.ndim == 3 else 1
    a_second = OPERATIONS_PER_SECOND / (6 * problem.layout.size * steps)
    gradients = 0.0
    for trial in fleet:
        update = trial.candidate.method.cost_of_a_step or len(inputs)
        gradients += budget.amount * (update if budget.currency == "updates" else 1)
    return gradients / a_second


def process_count(seconds: Sequence[float], threads: int) -> int:
    """Return the number of processes for fleets with these times; 1 means this process only.

    There are no more processes than stay busy while the longest fleet runs: beyond that, more
    threads for each fleet are faster.
    """
    whole = sum(seconds)
    if whole < MIN_SECONDS_FOR_PROCESSES:
        return 1
    return min(threads, math.floor(whole / max(seconds) * (1 + 1e-9)))
