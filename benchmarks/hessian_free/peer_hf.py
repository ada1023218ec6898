"""PyTorchHessianFree, the best-known public HF for PyTorch, on a problem of ours.

It is on no package index: where its folder `hessianfree` is on PYTHONPATH, it is measured.
Another package on PyPI has the same name.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.harness.training.bound_objective import initial_parameters
from bench.harness.training.case_order import CaseOrder
from bench.harness.training.cases import DeviceData
from bench.models.deep_autoencoders import DeepAutoencoder
from benchmarks.updates.plain import cross_entropy, sequential

NAME = "PyTorchHessianFree, ρ mended"
NOTES = (
    "PyTorchHessianFree as published, but that ρ is measured from θ instead of from CG's warm "
    "start, without which λ grows for ever. It has neither L2 nor, since its helper for it "
    "returns nothing, a preconditioner; the curvature chunks go through its own `acc_step`. "
    "It is on no package index; what was measured is a copy of its published source, statements "
    "kept.",
)

P = TypeVar("P")


def installed() -> bool:
    """Return whether it can be imported, and is not the other package of that name."""
    return bool(find_spec("hessianfree")) and bool(find_spec("hessianfree.cg_backtracking"))


def train(
    problem: DeepAutoencoder,
    data: DeviceData,
    seed: int,
    settings: Mapping[str, Any],
    point: Callable[[float, float], P],
) -> Iterator[P]:
    """Yield point(seconds, training squared error) after every iteration, on our chunks."""
    theta = initial_parameters(problem, [seed], data.train.inputs.device, data.train.inputs.dtype)
    model, inputs = sequential(problem, theta), data.train.inputs[0]
    optimizer = _mended()(model.parameters(), damping=settings["lam"])
    order = CaseOrder(len(inputs), seed, "curvature")
    size, seconds = -(-len(inputs) // settings["chunks"]), 0.0
    while True:
        start = time.perf_counter()
        chunk = inputs[torch.from_numpy(order.take(size)).to(inputs.device)]
        with torch.enable_grad(), warnings.catch_warnings():
            # It warns of every ρ below 0 and every line search that finds nothing.
            warnings.simplefilter("ignore")
            optimizer.acc_step(
                model, cross_entropy, [(inputs, inputs)], mvp_datalist=[(chunk, chunk)]
            )
        seconds += time.perf_counter() - start
        with torch.no_grad():
            error = (torch.sigmoid(model(inputs)) - inputs).square().sum(1).mean().item()
        yield point(seconds, error)


def _mended() -> Any:
    """Return its optimizer with ρ = (f(θ + p) − f(θ)) / φ(p), since φ(0) = 0."""
    from hessianfree.optimizer import HessianFree

    class Mended(HessianFree):
        def step(self, forward: Callable[[], tuple[Tensor, Any]], **given: Any) -> None:
            at_theta: list[float] = []

            def noting() -> tuple[Tensor, Any]:
                loss, outputs = forward()
                at_theta.append(loss.item())
                return loss, outputs

            self._at_theta = at_theta
            super().step(noting, **given)

        def _adapt_damping(self, f_0: float, f_step: float, m_0: float, m_step: float) -> None:
            # What it evaluates first is f(θ).
            super()._adapt_damping(self._at_theta[0], f_step, 0.0, m_step)

    return Mended
