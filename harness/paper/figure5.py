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
"""As in the figure."""
MOMENTA = (0.9, 0.95, 0.98, 0.99, 0.995)
"""The constant μ that NAG is tried with."""
CONVERGED = 5
"""CG goes on to so many times the steps, for the minimum of φ that the others are held against."""
SCHEDULE = "1983"
"""What NAG with the schedule of appendix A.1 is called, beside those with a constant μ."""


@dataclass(frozen=True)
class Race:
    """φ after each step from x = 0, step 0 included: S = steps + 1."""

    cg: Float[np.ndarray, " S"]
    """CG without a preconditioner."""
    nag: Mapping[str, Float[np.ndarray, " S"]]
    """NAG with ε = 1/L, by its momentum: μ as text, or SCHEDULE."""
    largest: float
    """L, the largest eigenvalue of A."""
    minimum: float
    """The least φ that CG reaches in CONVERGED times the steps."""

    @property
    def best(self) -> str:
        """The constant μ with the least φ at the end."""
        return min((mu for mu in self.nag if mu != SCHEDULE), key=lambda mu: self.nag[mu][-1])

    @property
    def cg_is_never_above(self) -> bool:
        """Whether CG is as low as every NAG at every step, but for rounding."""
        slack = 1e-6 * abs(self.minimum)
        return all((self.cg <= nag + slack).all() for nag in self.nag.values())

    def share(self, values: Float[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
        """Return what is left of the decrease from φ(0) = 0 to the minimum: 1 at first."""
        return 1 - values / self.minimum


@dataclass(frozen=True)
class Figure5:
    """A race, and the run that the quadratic was taken from."""

    problem: str
    preset: str
    seed: int
    iterations: int
    lam: float
    l2: float
    cases: int
    error: float
    """The training metric where the quadratic was taken."""
    race: Race

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        named = ("problem", "preset", "seed", "iterations", "lam", "l2", "cases", "error")
        race = self.race
        return {name: getattr(self, name) for name in named} | {
            "largest_eigenvalue": race.largest,
            "learning_rate": 1 / race.largest,
            "minimum": race.minimum,
            "cg": race.cg.tolist(),
            "nag": {mu: values.tolist() for mu, values in race.nag.items()},
            "best_constant_mu": race.best,
        }


def figure5(
    problem: str = "curves",
    preset: str = "quick",
    iterations: int = 25,
    seed: int = 0,
    steps: int = STEPS,
    dtype: torch.dtype = torch.float64,
) -> Figure5:
    """Take the quadratic after so many iterations of hf, and minimise it by CG and by NAG."""
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
        race=race(damped.quadratic, steps),
    )


@torch.no_grad()
def race(quadratic: Quadratic, steps: int, momenta: Sequence[float] = MOMENTA) -> Race:
    """Minimise φ from 0 by the project's CG and by its NAG, a row a momentum."""
    largest = largest_eigenvalue(quadratic)
    cg = _by_cg(quadratic, steps * CONVERGED)
    start = f"nag[lr={1 / largest!r},batch=1"
    rows = [
        resolve(f"{start},schedule=nesterov,mu_max=1.0]"),
        *(resolve(f"{start},schedule=constant,period=1,mu_max={mu!r}]") for mu in momenta),
    ]
    zero = torch.zeros_like(quadratic.linear).repeat(len(rows), 1)
    path = follow(rows[0].join(rows[1:]), quadratic, zero, steps)
    nag = torch.stack([quadratic.at(x) for x in path]).numpy()
    names = [SCHEDULE, *(f"{mu:g}" for mu in momenta)]
    return Race(
        cg=cg[: steps + 1],
        nag={name: nag[:, row] for row, name in enumerate(names)},
        largest=largest,
        minimum=float(cg.min()),
    )


def _by_cg(quadratic: Quadratic, steps: int) -> Float[np.ndarray, " S"]:
    """Return φ after each step of CG from 0; where it ends early, it stays where it is."""
    vectors, values = Vectors(quadratic.linear, check_every=1), list[float]()

    def watched(v: Tensor) -> Tensor:
        # The product of step i is asked for while `vectors.x` holds x_{i−1}.
        values.append(quadratic.at(vectors.x).item())
        return quadratic.product(v)

    conjugate_gradients(watched, quadratic.linear, None, vectors, steps, tolerance=0.0)
    last = quadratic.at(vectors.x).item()
    return np.array([*values, *[last] * (steps + 1 - len(values))])


def draw(data: Figure5, path: Path) -> None:
    """Draw φ by step, and beside it how much of the whole decrease is left, logarithmically."""
    figure = Figure(figsize=(12, 4.8), dpi=DPI, layout="constrained")
    plain, left = figure.subplots(1, 2)
    race = data.race
    _curves(plain, race, lambda values: values)
    _curves(left, race, race.share)
    left.set_yscale("log", nonpositive="mask")
    lowest = min(race.share(values)[-1] for values in (race.cg, *race.nag.values()))
    # Hessian-free stops CG long before 1e-6.
    left.set_ylim(max(lowest / 2, 1e-6), 2)
    plain.set_ylabel("φ")
    plain.axhline(race.minimum, color="#555555", linestyle=":", linewidth=1.2)
    left.set_ylabel("(φ − φ*) / (φ(0) − φ*)")
    figure.suptitle(
        f"{data.problem} / {data.preset}, seed {data.seed}: the quadratic after {data.iterations} "
        f"iterations of hf, λ = {data.lam:.3g}, largest eigenvalue {race.largest:.3g}",
        fontsize="medium",
    )
    gone_on = CONVERGED * (len(race.cg) - 1)
    handles = [
        Line2D([], [], color=color("hf"), linewidth=2.2, label="CG"),
        Line2D([], [], color=color("nag"), linewidth=2.2, label="NAG, schedule of 1983"),
        Line2D([], [], color=color("nag"), linestyle="--", label=f"NAG, best μ: {race.best}"),
        Line2D([], [], color=color("nag"), linewidth=0.7, alpha=0.5, label="NAG, other constant μ"),
        Line2D([], [], color="#555555", linestyle=":", label=f"φ*: CG after {gone_on} steps"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    save(figure, path)


def _curves(axes: Axes, race: Race, shown: Any) -> None:
    for mu, values in race.nag.items():
        style: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.5}
        if mu == SCHEDULE:
            style = {"linewidth": 2.2}
        elif mu == race.best:
            style = {"linewidth": 1.6, "linestyle": "--"}
        axes.plot(shown(values), color=color("nag"), **style)
    axes.plot(shown(race.cg), color=color("hf"), linewidth=2.2)
    axes.set_xlabel("step")
    axes.set_xlim(0, len(race.cg) - 1)
    faint_grid(axes)
