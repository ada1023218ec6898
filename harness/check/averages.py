"""The law that an average which an optimizer keeps of its iterates is what is evaluated.

Averages that a user's optimizer holds beside θ, such as a moving average of the weights, are its
result. If they were not evaluated, it would be judged by another point than its authors mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from bench.harness.check.laws import LawViolation
from bench.harness.check.observed_trial import ObservedTrial
from bench.harness.check.small_problems import network_for
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method

CASES = 4
"""Cases of a batch, if the method lets it be chosen: few, so that the steps point anywhere."""
STEPS = 25
"""Some begin to average only after a few steps."""
EXACT = 1e-4
"""The rest that rounding to float32 explains, of the distance to the nearest iterate."""
NEGATIVE = 1e-2
"""A weight above minus this is not negative."""
LEAST = 1e-9
"""A tensor nearer than this to an iterate, of the distance moved, is that iterate."""
DEPTH = 6
"""Objects within objects that are searched for tensors."""


def check(make: Callable[..., Method], dtype: torch.dtype = torch.float64) -> str:
    """Check that no tensor in the state is an average of the evaluated parameters.

    A tensor s is one if s = Σ w_i θ_i over the iterates θ_i, with w_i ≥ 0 and Σ w_i = 1, and s is
    none of them.
    """
    method = _with_small_batches(make)
    trial = ObservedTrial(method, network_for(method), budget=STEPS, dtype=dtype)
    path = [trial.iterate.clone()]
    for _ in range(STEPS):
        path.append(trial.step(1).iterate.clone())
    iterates = torch.stack([point.view(-1) for point in path])
    searched = 0
    for name, held in _tensors(trial.state, "state", DEPTH, set()):
        if held.numel() == iterates.shape[1] and held.is_floating_point():
            searched += 1
            if _is_average(held.detach().double().view(-1), iterates):
                raise LawViolation(
                    "expected the average that it keeps to be evaluated; found that "
                    f"{name} is an average of its iterates, and not evaluated. Let `eval()` put "
                    "the parameters there and `train()` back, or return it from `iterate`"
                )
    return f"{searched} tensors of θ's size in the state, none an average"


def _with_small_batches(make: Callable[..., Method]) -> Method:
    method = make()
    if "batch" not in method.hyperparameters:
        return method
    try:
        return make(batch=CASES)
    except UsageError:
        return method


def _is_average(held: Tensor, iterates: Tensor) -> bool:
    steps = (iterates[1:] - iterates[0]).T
    nearest = (iterates - held).abs().amax(1).min()
    if not torch.isfinite(held).all() or not nearest > LEAST * steps.abs().max():
        return False
    # gelsd also solves where iterates lie on a line.
    weights = torch.linalg.lstsq(steps, (held - iterates[0]).unsqueeze(1), driver="gelsd").solution
    rest = (steps @ weights).squeeze(1) - (held - iterates[0])
    if not rest.abs().max() <= EXACT * nearest:
        return False
    every = torch.cat([1 - weights.sum().view(1), weights.view(-1)])
    return bool((every >= -(EXACT**0.5)).all())


def _tensors(value: Any, name: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor that can be reached from a state, with how it is written."""
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, each in value.items():
            written = f"[{key!r}]" if isinstance(key, str | int) else ""
            yield from _tensors(each, f"{name}{written}", depth - 1, seen)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _tensors(each, f"{name}[{number}]", depth - 1, seen)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        for key, each in vars(value).items():
            yield from _tensors(each, f"{name}.{key}", depth - 1, seen)
