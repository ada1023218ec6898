"""The damped quadratic that Hessian-free minimises in an iteration in the middle of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from bench.harness.core.errors import Usage
from bench.harness.core.paths import data_source
from bench.harness.core.records import Measurement
from bench.harness.core.spec import Budget
from bench.harness.paper.quadratic import Quadratic
from bench.harness.planning.fleets import make_methods
from bench.harness.planning.problems import resolve
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet, Progress
from bench.optim.hessian_free.batches import curvature_batch, gradient_batch
from bench.optim.hessian_free.curvature import Regularized
from bench.optim.text import parse

_TOLERANCE = 1e-6
"""Relative tolerance of the largest eigenvalue."""


@dataclass(frozen=True)
class DampedQuadratic:
    """φ(x) = ½ xᵀA x + gᵀx with A = G + (L2 + λ) I, G on one chunk, g on the gradient batch."""

    quadratic: Quadratic
    lam: float
    """λ of the next iteration."""
    l2: float
    cases: int
    """The number of cases in the chunk."""
    error: float
    """The training metric at θ."""


class LastMeasurement:
    """Keeps the last measurement of a run."""

    error = float("nan")

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        """Keep the training metric."""
        self.error = measurement.train_metric

    def on_progress(self, progress: Progress) -> None:
        """Nothing to do."""

    def should_stop(self) -> bool:
        """Never."""
        return False


@torch.no_grad()
def damped_quadratic(
    problem: str,
    preset: str,
    iterations: int,
    seed: int,
    method: str = "hf",
    dtype: torch.dtype = torch.float64,
) -> DampedQuadratic:
    """Run Hessian-free for some iterations on the CPU; return the quadratic of the next one.

    In float64, the trial equals that of `bench run --optimizer hf --budget updates=N --device cpu
    --precision fp64`, with the problem's tuned hyperparameters. Raises Usage if the trial ends
    earlier.
    """
    chosen, budget = resolve(problem, preset), Budget("updates", float(iterations))
    data = DeviceData.from_data(chosen.data(data_source(None)), torch.device("cpu"), dtype)
    (hf,) = make_methods(parse(method), chosen, budget, "cpu")
    fleet, seen = Fleet(chosen, data, hf, [seed], budget, evaluations=2), LastMeasurement()
    (outcome,) = fleet.run(seen)
    if outcome.status != "budget":
        raise Usage(
            f"hf on {problem}/{preset} ended before iteration {iterations}: {outcome.reason} "
            "Give fewer iterations, or another seed."
        )
    given, theta = hf.hyperparameters, outcome.theta[None]
    h, lam = Regularized(fleet.objective, given["l2"]), hf.state_dict(fleet.state)["lam"]
    cases = gradient_batch(fleet.objective, given["batch"])
    chunk = curvature_batch(fleet.objective, cases, given["chunks"])
    gradient = torch.empty_like(theta)
    h.gradient(theta, cases, out=gradient)
    quadratic = Quadratic(h.curvature(theta, chunk, lam), gradient)
    return DampedQuadratic(quadratic, lam, given["l2"], chunk.cases, seen.error)


@torch.no_grad()
def largest_eigenvalue(quadratic: Quadratic) -> float:
    """Return L, the largest eigenvalue of A, by Lanczos from g."""
    g = quadratic.linear

    def product(v: np.ndarray) -> np.ndarray:
        row = torch.from_numpy(np.ascontiguousarray(v)).to(g.dtype).reshape(1, -1)
        return quadratic.product(row)[0].numpy().copy()

    a = LinearOperator((g.shape[1],) * 2, matvec=product, dtype=g.numpy().dtype)
    found = eigsh(a, k=1, v0=g[0].numpy(), tol=_TOLERANCE, return_eigenvectors=False)
    return float(found[0])
