"""Short runs of a method on a small problem, and an objective that is watched."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.harness.core.spec import Budget
from bench.harness.training.bound_objective import BoundObjective, initial_parameters
from bench.harness.training.cases import Cases, DeviceData
from bench.harness.training.ledger import Account, Clock
from bench.models.prices import prices_of
from bench.models.problem import Problem
from bench.optim.momentum.update_cuda import obstacle
from bench.optim.objective import Curvature, Method, Pair
from bench.optim.registry import BUILT_IN, find, resolve

CPU = torch.device("cpu")

SETTINGS = {
    "sgd": {"lr": "0.05"},
    "cm": {"lr": "0.02", "mu_max": "0.9", "period": "3", "final": "4"},
    "nag": {"lr": "0.02", "mu_max": "0.9", "period": "3", "final": "4", "l2": "1e-4"},
    "hf": {"lam": "1", "chunks": "3", "cg_max": "15"},
    "hfm": {"lam": "1", "part": "1", "chunks": "2", "cg_steps": "4", "decay": "0.8"},
    "torch.optim.AdamW": {"lr": "0.02"},
}
"""What each method is run with; a method that is built in and not here fails every law."""

NAMES = [*BUILT_IN, "torch.optim.AdamW"]
HERE = {"torch", "numba"} if obstacle("cpu") else {"torch", "numba", "numba-cuda"}
"""On a CPU @numba-cuda needs its simulator: optim/momentum/test_update_cuda.py turns it on."""
METHODS = [f"{name}@{b}" for name in NAMES for b in find(name).backends if b in HERE]
BATCH = 8


def method(text: str, **given: object) -> Method:
    """The method `name@backend` by its settings, unless something else is given."""
    name = text.split("@")[0]
    batch = {} if name == "hf" else {"batch": BATCH}
    values = {**SETTINGS[name], **batch, **given}
    return resolve(f"{text}[{','.join(f'{key}={value}' for key, value in values.items())}]")


class RecordingObjective:
    """A bound objective that notes every call, every batch and every θ it is asked about."""

    def __init__(self, inner: BoundObjective, problem: Problem) -> None:
        train = inner._data.train
        self.prices = prices_of(problem, problem.passes(), train.inputs, train.targets)
        self.inner = inner
        self.price = 0.0
        self.examples = 0
        self.products = 0
        self.batches: list[tuple[Cases, Tensor, Tensor]] = []
        self.gradients: list[tuple[Tensor, Cases]] = []
        """Where each gradient was taken: a copy of θ, and the cases."""

    def next_batch(self, *args: Any, **kwargs: Any) -> Cases:
        batch = self.inner.next_batch(*args, **kwargs)
        self.batches.append((batch, batch.inputs.clone(), batch.targets.clone()))
        return batch

    def loss(self, theta: Tensor, on: Cases) -> Tensor:
        self.price += self.prices.loss * on.cases
        self.examples += on.cases
        return self.inner.loss(theta, on)

    def gradient(self, theta: Tensor, on: Cases) -> tuple[Tensor, Tensor]:
        self.price += self.prices.gradient * on.cases
        self.examples += on.cases
        self.gradients.append((theta.clone(), on))
        return self.inner.gradient(theta, on)

    def gradient_parts(self, theta: Tensor, on: Cases) -> tuple[Tensor, list[Tensor]]:
        self.price += self.prices.gradient * on.cases
        self.examples += on.cases
        self.gradients.append((theta.clone(), on))
        return self.inner.gradient_parts(theta, on)

    @property
    def spent(self) -> float:
        return self.inner.spent

    def dots(self, *pairs: Pair) -> tuple[Tensor, ...]:
        return self.inner.dots(*pairs)

    def squared_gradient(self, theta: Tensor, on: Cases) -> Tensor:
        self.price += self.prices.squared_gradient * on.cases
        self.examples += on.cases
        return self.inner.squared_gradient(theta, on)

    def curvature(self, theta: Tensor, on: Cases, structural: float | None = None) -> Curvature:
        self.price += self.prices.linearization * on.cases
        self.examples += on.cases
        return self._counted(self.inner.curvature(theta, on, structural), self.prices.product, on)

    def hessian(self, theta: Tensor, on: Cases) -> tuple[Tensor, Tensor, Curvature]:
        self.price += self.prices.hessian * on.cases
        self.examples += on.cases
        self.gradients.append((theta.clone(), on))
        loss, gradient, product = self.inner.hessian(theta, on)
        return loss, gradient, self._counted(product, self.prices.hessian_product, on)

    def _counted(self, product: Curvature, price: float, on: Cases) -> Curvature:
        def counted(v: Tensor) -> Tensor:
            self.price += price * on.cases
            self.examples += on.cases
            self.products += 1
            return product(v)

        return counted


@dataclass
class Run:
    """A method on a problem, a seed a row, before its first step."""

    method: Method
    problem: Problem
    seeds: Sequence[int] = (0,)
    budget: int = 20
    start: Tensor | None = None
    reports: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.account = Account(Budget("gradients", 1e9), Clock(CPU))
        self.data = DeviceData.from_data(self.problem.data(), CPU, torch.float64)  # type: ignore[call-arg]
        self.bound = BoundObjective(self.problem, self.data, list(self.seeds), self.account)
        self.objective = RecordingObjective(self.bound, self.problem)
        made = initial_parameters(self.problem, list(self.seeds), CPU, torch.float64)
        self.theta = made if self.start is None else self.start.clone()
        self.state = self.method.init(self.theta, self.seeds[0], self.budget)

    def step(self, times: int = 1) -> Run:
        with torch.no_grad():
            for _ in range(times):
                report = self.method.step(self.theta, self.objective, self.state)
                self.reports.append(report)
        return self

    @property
    def iterate(self) -> Tensor:
        return self.method.iterate(self.theta, self.state)

    def save(self) -> bytes:
        """What a checkpoint holds."""
        file = io.BytesIO()
        torch.save(
            {
                "theta": self.theta,
                "state": self.method.state_dict(self.state),
                "positions": self.bound.batches.positions(),
            },
            file,
        )
        return file.getvalue()

    def restore(self, saved: bytes) -> Run:
        """Go on from a checkpoint; it may hold nothing but tensors and plain values."""
        read = torch.load(io.BytesIO(saved), weights_only=True)
        self.theta.copy_(read["theta"])
        self.method.load_state_dict(self.state, read["state"])
        self.bound.batches.restore_positions(read["positions"])
        assert self.bound.batches.positions() == read["positions"]
        return self


def same(a: Any, b: Any) -> bool:
    """Whether two state dictionaries are equal bit for bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
