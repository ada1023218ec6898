"""Objectives that misbehave as told, and runs that are held to what a step promises."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.optim.hessian_free import HessianFree, MomentumHessianFree
from bench.optim.hessian_free.damping import limits
from bench.optim.objective import Curvature
from tests.optim.dense import DenseObjective, linear, small_mlp

Method = HessianFree | MomentumHessianFree
CANNOT = "The loss cannot be lowered further at this precision."


def hf(**given: object) -> Method:
    return HessianFree(**{"cg_max": 15, "chunks": 1, **given})


def hfm(**given: object) -> Method:
    return MomentumHessianFree(**{"cg_steps": 12, "part": 1, **given})


both = pytest.mark.parametrize("make", [hf, hfm])


class Nasty(DenseObjective):
    """Spoils products by `product(its number, value)` and losses away from θ by `trial`."""

    product: Callable[[int, Tensor], Tensor] | None = None
    trial: Callable[[float], float] | None = None

    def gradient(self, theta: Tensor, on: Any) -> tuple[Tensor, Tensor]:
        self.here = theta.clone()
        return super().gradient(theta, on)

    def loss(self, theta: Tensor, on: Any) -> Tensor:
        value = super().loss(theta, on)
        if self.trial is None or torch.equal(theta, self.here):
            return value
        return torch.full_like(value, self.trial(value.item()))

    def curvature(self, *args: Any, **kwargs: Any) -> Curvature:
        product = super().curvature(*args, **kwargs)

        def spoilt(v: Tensor) -> Tensor:
            value = product(v)
            return value if self.product is None else self.product(self.calls["product"], value)

        return spoilt


class LogisticRegression(Nasty):
    """Its curvature and per-case gradients are written down, which is quick."""

    def gauss_newton(self, theta: Tensor, on: Any) -> Tensor:
        x = self.inputs[on.indices]
        y = torch.sigmoid(self.network(theta[0], x))
        return x.T @ (y * (1 - y) * x) / on.cases

    def _per_case_gradients(self, theta: Tensor, on: Any) -> Tensor:
        x = self.inputs[on.indices]
        return (torch.sigmoid(self.network(theta, x)) - self.targets[on.indices]) * x


def nasty(cases: int = 24, **spoils: Any) -> tuple[Nasty, Tensor]:
    base, theta = small_mlp(cases=cases)
    objective = Nasty(base.network, base.inputs, base.targets)
    for name, value in spoils.items():
        setattr(objective, name, value)
    return objective, theta


def logistic(seed: int, dtype: torch.dtype = torch.float64) -> tuple[LogisticRegression, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8, 6, generator=generator, dtype=dtype)
    targets = (torch.rand(8, 1, generator=generator) < 0.5).to(dtype)
    theta = torch.randn(1, 6, generator=generator, dtype=dtype)
    return LogisticRegression(linear, x, targets), theta


def run(method: Method, objective: Any, theta: Tensor, most: int) -> list[Mapping[str, Any]]:
    """Step until the trial ends, `most` steps at most; hold every step to what is promised."""
    state: Any = method.init(theta, 0, None)
    start = method.hyperparameters["lam"]
    low, high = limits(start)
    reports: list[Mapping[str, Any]] = []
    for _ in range(most):
        before = theta.clone()
        reports.append(method.step(theta, objective, state))
        assert theta.isfinite().all()
        assert state.last.isfinite().all()
        assert low <= state.lam <= high
        assert (state.lam == 0) == (start == 0)
        assert math.isfinite(state.lam)
        if reports[-1]["rate"] == 0:
            assert torch.equal(theta, before)
        finite = {k: v for k, v in reports[-1].items() if k not in ("loss", "rho", "stop")}
        assert all(math.isfinite(v) for v in finite.values())
        if "stop" in reports[-1]:
            assert reports[-1]["stop"].endswith(".")
            break
    return reports


def stops(reports: list[Mapping[str, Any]]) -> str | None:
    """The reason for which a trial ended, if it did."""
    return reports[-1].get("stop")
