"""Random misbehaviour: a step still ends, and leaves everything finite."""

import math
import random
from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.optim.hessian_free.nasty import Method, both, logistic, run, stops


@both
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    rate=st.sampled_from([0.02, 0.2, 0.9]),
    lam=st.sampled_from([0.0, 1e-300, 1e-3, 45.0, 1e30]),
    factor=st.sampled_from([1.0, 1.5, 1e200]),
    l2=st.sampled_from([0.0, 1e-3]),
    chunks=st.sampled_from([1, 3]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_any_objective(
    make: Callable[..., Method],
    seed: int,
    rate: float,
    lam: float,
    factor: float,
    l2: float,
    chunks: int,
    dtype: torch.dtype,
) -> None:
    """30 steps always end, with θ, the warm start and λ finite and λ in its limits."""
    dice = random.Random(seed)
    nastiness = (math.nan, math.inf, -math.inf, -1.0, 0.0, 1e-30, 1e30, -1e30, 1e200)

    def product(_: int, value: Tensor) -> Tensor:
        if dice.random() > rate:
            return value
        spoilt = value if dice.random() < 0.5 else value[:, : dice.randint(1, 5)]
        spoilt.mul_(dice.choice(nastiness))
        return value

    def trial(value: float) -> float:
        return dice.choice((math.nan, math.inf, -1e30, 1e30)) if dice.random() < rate else value

    objective, theta = logistic(seed, dtype)
    objective.product, objective.trial = product, trial
    method = make(lam=lam, lam_factor=factor, l2=l2, chunks=chunks)
    reports = run(method, objective, theta, 30)
    assert len(reports) == 30 or stops(reports) or not reports[-1]["loss"].isfinite().all()
