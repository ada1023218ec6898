"""How many tensors of θ's size a method says that it holds, held against those that are alive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bench import optim
from bench.harness.training.allocations import AllocationRecorder
from bench.optim.hessian_free.cg import CHECK_EVERY
from bench.optim.objective import Method, dots
from bench.optim.registry import find
from bench.optim.torch.adapter import MADE_IN_A_STEP, is_optimizer

P = 20_000
"""So large that nothing but θ-sized tensors matters."""


@dataclass(frozen=True)
class Some:
    cases: int


class Diagonal:
    """½ θᵀDθ, D from 1e-3 to 1e3, so that CG goes on; as frugal as an objective can be."""

    dots = staticmethod(dots)

    def __init__(self, theta: Tensor) -> None:
        self.given = torch.zeros_like(theta)

    def next_batch(self, size: object, stream: str = "gradient") -> Some:
        return Some(10)

    def loss(self, theta: Tensor, on: Some) -> Tensor:
        # The memory of the last gradient may be written over.
        torch.mul(theta, DIAGONAL, out=self.given)
        return 0.5 * torch.stack([torch.dot(*pair) for pair in zip(theta, self.given, strict=True)])

    def gradient(self, theta: Tensor, on: Some) -> tuple[Tensor, Tensor]:
        return theta.new_ones(len(theta)), torch.mul(theta, DIAGONAL, out=self.given)

    def squared_gradient(self, theta: Tensor, on: Some) -> Tensor:
        return torch.ones_like(theta)

    def curvature(
        self, theta: Tensor, on: Some, structural: float | None = None
    ) -> Callable[[Tensor], Tensor]:
        out = torch.zeros_like(theta)
        return lambda v: torch.mul(v, DIAGONAL, out=out)

    def hessian(self, theta: Tensor, on: Some) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        return *self.gradient(theta, on), self.curvature(theta, on)


DIAGONAL = torch.logspace(-3, 3, P)


def alive(method: Method, rows: int, steps: int = 3) -> int:
    """Tensors of θ's size that were alive at most, from θ itself to the last step."""
    with torch.no_grad(), AllocationRecorder() as seen:
        theta = torch.ones(rows, P)
        objective = Diagonal(theta)
        state = method.init(theta, 0, steps)
        for _ in range(steps):
            method.step(theta, objective, state)  # type: ignore[arg-type]
    return max(seen.history) // theta.nbytes


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("rows", [("sgd", "cm"), ("nag",), ("sgd", "nag", "cm")])
def test_momentum(rows: tuple[str, ...], backend: str) -> None:
    first, *others = (optim.resolve(f"{row}@{backend}[lr=1e-5,l2=1e-4]") for row in rows)
    method = first.join(others) if others else first
    assert method.vectors == alive(method, len(rows))
    assert method.linearized == 0


@pytest.mark.parametrize(
    "text",
    [
        "hf[lam=0.1,cg_max=40,cg_tolerance=0]",
        "hf[lam=0.1,cg_max=1]",
        "hfm[lam=0.1,cg_steps=40]",
    ],
)
def test_hessian_free(text: str) -> None:
    method = optim.resolve(text)
    # What a product is written into is the objective's; on a CPU CG looks at every iterate.
    mine = alive(method, 1) - 1
    assert mine <= method.vectors - (CHECK_EVERY - 1) <= mine + 1


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("hf[chunks=4]", 1 / 4),
        ("hf[chunks=4,structural=0.03]", 1 / 2),
        ("hfm[part=8,chunks=2]", 1 / 16),
        ("hfm[recipe=curves]", 1),
        ("hfm[recipe=mnist]", 1 / 20),
    ],
)
def test_share_of_a_batch_that_is_linearised(text: str, share: float) -> None:
    assert optim.resolve(text).linearized == share


OTHERS = ("Adafactor", "Muon", "SparseAdam", "LBFGS")
"""Adafactor's state is smaller than θ; two do not take θ; LBFGS keeps what steps were like."""
SUITED = sorted(
    name for name, value in vars(torch.optim).items() if is_optimizer(value) and name not in OTHERS
)


@pytest.mark.parametrize("name", SUITED)
def test_any_of_torch(name: str) -> None:
    kind = find(f"torch.optim.{name}")
    everything = {"weight_decay": 0.1, "momentum": 0.9, "amsgrad": True, "centered": True}
    given = {h.name: everything[h.name] for h in kind.space if h.name in everything}
    method = kind("torch", **given)
    assert method.vectors - MADE_IN_A_STEP < alive(method, 1) <= method.vectors


def test_a_method_with_a_history() -> None:
    method = optim.resolve("torch.optim.LBFGS[history_size=5]")
    assert 2 * 5 < alive(method, 1) <= method.vectors


@pytest.mark.parametrize(
    "name",
    [
        "schedulefree:AdamWScheduleFree",
        "pytorch_optimizer:VSGD",
        "pytorch_optimizer:AdaHessian[num_samples=2]",
    ],
)
def test_one_of_somebody_else(name: str) -> None:
    method = optim.resolve(name)
    assert alive(method, 1) <= method.vectors
