"""Figure 2 of Sutskever et al. 2013: gradient descent, CM and NAG on a quadratic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.harness.paper.quadratic import Quadratic, follow
from bench.harness.report.style import DPI, color, save
from bench.optim.registry import resolve

METHODS = ("gd", "cm", "nag")
_NAMES = {"gd": "gradient descent", "cm": "classical momentum", "nag": "NAG"}
_COLOR_OF = {"gd": "sgd", "cm": "cm", "nag": "nag"}
_NEAR = 25
"""Steps in the panel of the steep direction: the first ones, in which the methods differ."""


@dataclass(frozen=True)
class Figure2:
    """Three trajectories θ_0, θ_1, … on f(θ) = ½ θᵀAθ, A diagonal, the steep direction last."""

    curvatures: tuple[float, float]
    """The eigenvalues of A, along the flat and along the steep axis."""
    start: tuple[float, float]
    mu: float
    epsilon: float
    paths: Mapping[str, Float[np.ndarray, "S 2"]]
    """Each method's θ at the start and after each update: S = steps + 1."""
    values: Mapping[str, Float[np.ndarray, " S"]]
    """f at these θ."""

    def travelled(self, method: str) -> float:
        """Return the total variation along the steep axis: Σ |θ_{t+1} − θ_t| there."""
        return float(np.abs(np.diff(self.paths[method][:, 1])).sum())

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "curvatures": list(self.curvatures),
            "start": list(self.start),
            "mu": self.mu,
            "epsilon": self.epsilon,
            "paths": {name: path.tolist() for name, path in self.paths.items()},
            "values": {name: value.tolist() for name, value in self.values.items()},
            "steep_total_variation": {name: self.travelled(name) for name in METHODS},
        }


def figure2(
    curvatures: tuple[float, float] = (1.0, 20.0),
    start: tuple[float, float] = (-4.0, 1.5),
    mu: float = 0.9,
    epsilon: float = 0.04,
    steps: int = 60,
) -> Figure2:
    """Run the project's SGD, CM and NAG, as one fleet in float64, with the same ε and μ.

    The paper prints no numbers. With these, ε·λ is 0.8 in the steep and 0.04 in the flat direction,
    so by Theorem 2.1 NAG equals CM with μ = 0.18 and μ = 0.864 there.
    """
    momentum = f"lr={epsilon!r},mu_max={mu!r},schedule=constant,period=1,batch=1"
    fleet = [
        resolve(text)
        for text in (f"sgd[lr={epsilon!r},batch=1]", f"cm[{momentum}]", f"nag[{momentum}]")
    ]
    quadratic = Quadratic.of(torch.diag(torch.tensor(curvatures, dtype=torch.float64)))
    theta = torch.tensor([start] * len(fleet), dtype=torch.float64)
    taken = [x.clone() for x in follow(fleet[0].join(fleet[1:]), quadratic, theta, steps)]
    path, value = torch.stack(taken).numpy(), torch.stack([quadratic.at(x) for x in taken]).numpy()
    return Figure2(
        curvatures=curvatures,
        start=start,
        mu=mu,
        epsilon=epsilon,
        paths={name: path[:, row] for row, name in enumerate(METHODS)},
        values={name: value[:, row] for row, name in enumerate(METHODS)},
    )


def draw(data: Figure2, path: Path) -> None:
    """Draw the three paths over the contours, and beside them the steep axis by update."""
    figure = Figure(figsize=(13, 4.6), dpi=DPI, layout="constrained")
    plane, steep = figure.subplots(1, 2, width_ratios=(1.75, 1))
    _contours(plane, data)
    for name, trajectory in data.paths.items():
        style: dict[str, Any] = {"color": color(_COLOR_OF[name]), "label": _NAMES[name]}
        style |= {"marker": ".", "markersize": 5, "linewidth": 1.4}
        # On top, because NAG soon runs along the flat axis too and would hide it.
        above = 3 if name == "gd" else 2
        plane.plot(*trajectory.T, zorder=above, **style)
        steep.plot(trajectory[: _NEAR + 1, 1], zorder=above, **style)
    plane.plot(*data.start, marker="o", color="black", markersize=6, zorder=4)
    plane.plot(0, 0, marker="*", color="black", markersize=11, zorder=4)
    plane.set_xlabel(f"flat direction, curvature {data.curvatures[0]:g}")
    plane.set_ylabel(f"steep direction, curvature {data.curvatures[1]:g}")
    steep.axhline(0, color="#555555", linewidth=0.8)
    steep.set_xlabel("update")
    steep.set_title("along the steep direction", fontsize="medium")
    plane.set_title(
        f"one start (●), one minimum (★), μ = {data.mu:g} and ε = {data.epsilon:g} for all",
        fontsize="medium",
    )
    handles, _ = plane.get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    save(figure, path)


def _contours(axes: Axes, data: Figure2) -> None:
    every = np.concatenate(list(data.paths.values()))
    low, high = every.min(0), every.max(0)
    margin = 0.08 * (high - low)
    x, y = (np.linspace(a - m, b + m, 200) for a, b, m in zip(low, high, margin, strict=True))
    flat, steep = data.curvatures
    height = 0.5 * (flat * x[None, :] ** 2 + steep * y[:, None] ** 2)
    axes.contour(x, y, np.sqrt(height), levels=12, colors="#bbbbbb", linewidths=0.8)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
