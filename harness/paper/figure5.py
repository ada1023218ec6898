"""Figure 5 of Sutskever et al. 2013: CG against NAG on one quadratic of a Hessian-free run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from bench.harness.paper.damped import damped_quadratic, largest_eigenvalue
from bench.harness.paper.quadratic import Quadratic, follow
from bench.harness.report.style import DPI, color, faint_grid, save
from bench.optim.hessian_free.cg import Vectors, conjugate_gradients
from bench.optim.registry import resolve

STEPS = 120
"""Steps in the paper's figure."""
MOMENTA = (0.9, 0.95, 0.98, 0.99, 0.995)
"""Values of a constant μ for NAG."""
MINIMUM_FACTOR = 5
"""CG runs for this multiple of the steps to find the minimum φ*."""
SCHEDULE = "1983"
"""The name of NAG with the schedule of appendix A.1, beside those with a constant μ."""


@dataclass(frozen=True)
class Convergence:
    """φ after each step from x = 0, step 0 included: S = steps + 1."""

    cg: Float[np.ndarray, " S"]
    """CG without a preconditioner."""
    nag: Mapping[str, Float[np.ndarray, " S"]]
    """NAG with ε = 1/L, by its momentum: μ as text, or SCHEDULE."""
    largest: float
    """L, the largest eigenvalue of A."""
    minimum: float
    """The least φ that CG reaches in MINIMUM_FACTOR times the steps."""

    @property
    def best(self) -> str:
        """The constant μ with the least φ at the end."""
        return min((mu for mu in self.nag if mu != SCHEDULE), key=lambda mu: self.nag[mu][-1])

    @property
    def cg_is_never_above(self) -> bool:
        """Whether φ of CG is at most that of every NAG at every step, up to rounding."""
        slack = 1e-6 * abs(self.minimum)
        return all((self.cg <= nag + slack).all() for nag in self.nag.values())

    def share(self, values: Float[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
        """Return the remaining share of the decrease from φ(0) = 0 to the minimum: 1 at first."""
        return 1 - values / self.minimum


@dataclass(frozen=True)
class Figure5:
    """The convergence of CG and NAG, and the run from which the quadratic comes."""

    problem: str
    preset: str
    seed: int
    iterations: int
    lam: float
    l2: float
    cases: int
    error: float
    """The training metric at which the quadratic was taken."""
    convergence: Convergence

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        named = ("problem", "preset", "seed", "iterations", "lam", "l2", "cases", "error")
        convergence = self.convergence
        return {name: getattr(self, name) for name in named} | {
            "largest_eigenvalue": convergence.largest,
            "learning_rate": 1 / convergence.largest,
            "minimum": convergence.minimum,
            "cg": convergence.cg.tolist(),
            "nag": {mu: values.tolist() for mu, values in convergence.nag.items()},
            "best_constant_mu": convergence.best,
        }


def figure5(
    problem: str = "curves",
    preset: str = "quick",
    iterations: int = 25,
    seed: int = 0,
    steps: int = STEPS,
    dtype: torch.dtype = torch.float64,
) -> Figure5:
    """Take the quadratic after some iterations of hf, and minimise it by CG and by NAG."""
    damped = damped_quadratic(problem, preset, iterations, seed, dtype=dtype)
    return Figure5(
        problem=problem,
        preset=preset,
        seed=seed,
        iterations=iterations,
        lam=damped.lam,
        l2=damped.l2,
        cases=damped.cases,
        error=damped.error,
        convergence=compare_convergence(damped.quadratic, steps),
    )


@torch.no_grad()
def compare_convergence(
    quadratic: Quadratic, steps: int, momenta: Sequence[float] = MOMENTA
) -> Convergence:
    """Minimise φ from 0 by the project's CG and by its NAG, with one row for each momentum."""
    largest = largest_eigenvalue(quadratic)
    cg = _by_cg(quadratic, steps * MINIMUM_FACTOR)
    start = f"nag[lr={1 / largest!r},batch=1"
    rows = [
        resolve(f"{start},schedule=nesterov,mu_max=1.0]"),
        *(resolve(f"{start},schedule=constant,period=1,mu_max={mu!r}]") for mu in momenta),
    ]
    zero = torch.zeros_like(quadratic.linear).repeat(len(rows), 1)
    path = follow(rows[0].join(rows[1:]), quadratic, zero, steps)
    nag = torch.stack([quadratic.at(x) for x in path]).numpy()
    names = [SCHEDULE, *(f"{mu:g}" for mu in momenta)]
    return Convergence(
        cg=cg[: steps + 1],
        nag={name: nag[:, row] for row, name in enumerate(names)},
        largest=largest,
        minimum=float(cg.min()),
    )


def _by_cg(quadratic: Quadratic, steps: int) -> Float[np.ndarray, " S"]:
    """Return φ after each step of CG from 0; after an early end, φ stays constant."""
    vectors, values = Vectors(quadratic.linear, check_every=1), list[float]()

    def recording_product(v: Tensor) -> Tensor:
        # When CG needs the product of step i, `vectors.x` holds x_{i−1}.
        values.append(quadratic.at(vectors.x).item())
        return quadratic.product(v)

    conjugate_gradients(recording_product, quadratic.linear, None, vectors, steps, tolerance=0.0)
    last = quadratic.at(vectors.x).item()
    return np.array([*values, *[last] * (steps + 1 - len(values))])


def draw(data: Figure5, path: Path) -> None:
    """Draw φ by step, and beside it the remaining share of the decrease on a log scale."""
    figure = Figure(figsize=(12, 4.8), dpi=DPI, layout="constrained")
    plain, left = figure.subplots(1, 2)
    convergence = data.convergence
    _curves(plain, convergence, lambda values: values)
    _curves(left, convergence, convergence.share)
    left.set_yscale("log", nonpositive="mask")
    lowest = min(
        convergence.share(values)[-1] for values in (convergence.cg, *convergence.nag.values())
    )
    # Hessian-free stops CG long before 1e-6.
    left.set_ylim(max(lowest / 2, 1e-6), 2)
    plain.set_ylabel("φ")
    plain.axhline(convergence.minimum, color="#555555", linestyle=":", linewidth=1.2)
    left.set_ylabel("(φ − φ*) / (φ(0) − φ*)")
    figure.suptitle(
        f"{data.problem} / {data.preset}, seed {data.seed}: the quadratic after {data.iterations} "
        f"iterations of hf, λ = {data.lam:.3g}, largest eigenvalue {convergence.largest:.3g}",
        fontsize="medium",
    )
    cg_steps = MINIMUM_FACTOR * (len(convergence.cg) - 1)
    handles = [
        Line2D([], [], color=color("hf"), linewidth=2.2, label="CG"),
        Line2D([], [], color=color("nag"), linewidth=2.2, label="NAG, schedule of 1983"),
        Line2D(
            [], [], color=color("nag"), linestyle="--", label=f"NAG, best μ: {convergence.best}"
        ),
        Line2D([], [], color=color("nag"), linewidth=0.7, alpha=0.5, label="NAG, other constant μ"),
        Line2D([], [], color="#555555", linestyle=":", label=f"φ*: CG after {cg_steps} steps"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    save(figure, path)


def _curves(axes: Axes, convergence: Convergence, shown: Any) -> None:
    for mu, values in convergence.nag.items():
        style: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.5}
        if mu == SCHEDULE:
            style = {"linewidth": 2.2}
        elif mu == convergence.best:
            style = {"linewidth": 1.6, "linestyle": "--"}
        axes.plot(shown(values), color=color("nag"), **style)
    axes.plot(shown(convergence.cg), color=color("hf"), linewidth=2.2)
    axes.set_xlabel("step")
    axes.set_xlim(0, len(convergence.cg) - 1)
    faint_grid(axes)
