"""Errors that a step raises because a trial has diverged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.harness.core.errors import BenchError
from bench.harness.training.bound_objective import evaluate
from bench.harness.training.cases import Cases
from bench.harness.training.memory import is_out_of_memory
from bench.models.problem import Problem
from bench.optim.hyperparameters import Unavailable, UsageError
from bench.optim.objective import BudgetSpent

NO_DECOMPOSITION = torch.linalg.LinAlgError, np.linalg.LinAlgError


def is_breakdown(
    error: Exception,
    problem: Problem,
    cases: Cases,
    theta: Float[Tensor, "K P"],
    report: Mapping[str, Any],
) -> bool:
    """Return whether a step raised an error because its numbers are of no use any more.

    That is so where a matrix has no decomposition; and for any error where θ, the loss that the
    step before reported, or the loss on the training cases is not finite. It is never so of several
    rows, of which one may be sound, nor of what bench itself raises, nor where memory ran out.
    """
    of_bench = isinstance(error, BenchError | UsageError | Unavailable | BudgetSpent)
    if len(theta) != 1 or of_bench or is_out_of_memory(error):
        return False
    if isinstance(error, NO_DECOMPOSITION):
        return True
    numbers = [theta, *([report["loss"]] if report else []), *evaluate(problem, theta, cases)]
    return not all(bool(torch.isfinite(each).all()) for each in numbers)
