"""Laws that compare a problem's gradient and curvature with differences of its loss, in float64.

As the step h of a central difference shrinks, its rounding error grows and its truncation error
shrinks. No single h is good for every network. So a derivative counts as right if *one* of several
steps agrees with it to `AGREEMENT`; a wrong derivative agrees with none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.harness.check.laws import LawViolation, check_close, expect
from bench.harness.core.seeds import generator
from bench.models.problem import Problem

STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
AGREEMENT = 1e-5
ROUNDING = 1e-6
"""Slopes below this fraction of the loss are not resolved."""
VECTORS = 8
MAX_DIRECTIONS = 16
"""Directions along which a derivative is checked: of many parameters, several share one."""
OFF = 0.1


@dataclass
class Point:
    """Slightly perturbed initial parameters θ and a few of the problem's cases, in float64."""

    problem: Problem
    theta: Tensor
    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        self.passes = self.problem.passes()

    def logits(self, theta: Tensor) -> Tensor:
        """Return a copy of the pre-activations, because passes may reuse their memory."""
        return self.passes.logits(theta, self.inputs).clone()

    def gradient(self) -> Tensor:
        """Return ∇f."""
        out = torch.zeros_like(self.theta)
        self.passes.gradient(self.theta, self.inputs, self.targets, out)
        return out


def directions(problem: Problem, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Yield a normal direction in each parameter's subspace."""
    normal = torch.Generator().manual_seed(seed)
    for name, shape in problem.layout.shapes.items():
        direction = torch.zeros(1, problem.layout.size, dtype=torch.float64)
        view = problem.layout.views(direction)[name][0]
        view.copy_(torch.randn(shape, generator=normal, dtype=torch.float64))
        yield name, direction


def shared_directions(problem: Problem, seed: int) -> list[tuple[str, Tensor]]:
    """Return at most MAX_DIRECTIONS normal directions that together cover every parameter."""
    found = list(directions(problem, seed))
    size = -(-len(found) // MAX_DIRECTIONS)
    parts = [found[i : i + size] for i in range(0, len(found), size)]
    return [
        (part[0][0] if len(part) == 1 else f"{part[0][0]} to {part[-1][0]}",
         torch.stack([direction for _, direction in part]).sum(0))
        for part in parts
    ]  # fmt: skip


def random_direction(problem: Problem, seed: int) -> Tensor:
    """Return a normal direction in all parameters at once; padding is 0."""
    start = torch.zeros(1, problem.layout.size, dtype=torch.float64)
    return sum((direction for _, direction in directions(problem, seed)), start)


def perturbed_parameters(problem: Problem, seed: int) -> Tensor:
    """Return one row of initial parameters plus OFF times a normal direction.

    The direction is divided by the square root of a parameter's width. So no unit's input changes
    by more than about OFF, and a stable recurrent network does not become chaotic.
    """
    theta = problem.initialize(generator(seed, "initialization"))[None].double()
    for name, direction in directions(problem, 100 + seed):
        theta = theta + OFF / max(problem.layout.shapes[name], default=1) ** 0.5 * direction
    return theta


def check_gradient(point: Point) -> str:
    """∇f · v = df(θ + hv)/dh for a v in each parameter, and f is the mean of its cases' losses."""
    passes, theta = point.passes, point.theta
    x, t = point.inputs, point.targets
    per_case = point.problem.loss.per_case(point.logits(theta), t)
    loss = passes.loss(theta, x, t)
    check_close("loss, the mean over cases", loss, per_case.mean(1))
    out = torch.zeros_like(theta)
    check_close("the loss that comes with the gradient", passes.gradient(theta, x, t, out), loss)
    worst = 0.0
    tried = shared_directions(point.problem, 2)
    for name, v in tried:
        found = float((out * v).sum())
        worst = max(
            worst,
            _agree(
                f"slope along {name}",
                found,
                lambda h, v=v: float(  # type: ignore[misc]
                    _central(lambda s: passes.loss(theta + s * v, x, t), h)
                ),
                ROUNDING * abs(float(loss)),
            ),
        )
    return f"relative error {worst:.1e}, {len(tried)} directions"


def check_curvature(point: Point) -> str:
    """uᵀGv = mean over cases of (Ju)ᵀ H_L (Jv), J and H_L by differences."""
    problem, theta, cases = point.problem, point.theta, point.inputs.shape[1]
    product = point.passes.curvature(theta, point.inputs, point.targets)
    z = point.logits(theta)

    def along(v: Tensor, h: float) -> Tensor:
        return _central(lambda s: point.logits(theta + s * v), h)

    def slope(at: Tensor) -> Tensor:
        leaf = at.detach().requires_grad_()
        with torch.enable_grad():
            value = problem.loss.per_case(leaf, point.targets).sum()
        return torch.autograd.grad(value, leaf)[0]

    def curved(ju: Tensor, jv: Tensor, h: float) -> float:
        hjv = _central(lambda s: slope(z + s * jv), h)
        return float((ju * hjv).sum()) / cases

    u = random_direction(problem, 3)
    worst = 0.0
    tried = shared_directions(problem, 2)
    for name, v in tried:
        # By Cauchy and Schwarz |uᵀGv| is at most this.
        ju, jv = along(u, 1e-5), along(v, 1e-5)
        bound = abs(curved(ju, ju, 1e-5) * curved(jv, jv, 1e-5)) ** 0.5
        found = float((u * product(v)).sum())
        worst = max(
            worst,
            _agree(
                f"uᵀGv, v in {name}",
                found,
                lambda h, v=v: curved(along(u, h), along(v, h), h),  # type: ignore[misc]
                bound,
            ),
        )
    return f"relative error {worst:.1e}, {len(tried)} directions"


def check_semidefinite(point: Point) -> str:
    """uᵀGv = vᵀGu and vᵀGv ≥ 0 for random vectors."""
    product = point.passes.curvature(point.theta, point.inputs, point.targets)
    v = torch.cat([random_direction(point.problem, 10 + i) for i in range(VECTORS)])
    gv = torch.cat([product(row[None]).clone() for row in v])
    forms = v @ gv.T
    check_close("uᵀGv against vᵀGu", forms, forms.T)
    least, most = float(forms.diagonal().min()), float(forms.diagonal().abs().max())
    expect(least >= -1e-12 * most, "vᵀGv ≥ 0", f"{least:.6g} where others are up to {most:.6g}")
    off = float((forms - forms.T).abs().max()) / most if most else 0.0
    return f"{VECTORS} vectors: asymmetry {off:.1e}, least vᵀGv {least:.3g}"


def check_squared_gradient(point: Point) -> str:
    """Compare the mean squared per-case gradient with gradients of single cases."""
    passes, theta, expected = point.passes, point.theta, torch.zeros_like(point.theta)
    cases = point.inputs.shape[1]
    for case in range(cases):
        some, one = slice(case, case + 1), torch.zeros_like(theta)
        passes.gradient(theta, point.inputs[:, some], point.targets[:, some], one)
        expected += one.square() / cases
    found = passes.squared_gradient(theta, point.inputs, point.targets)
    off = check_close("squared gradient", found, expected, 1e-10)
    return f"relative error {off:.1e}, {cases} cases one by one"


def _central(function: Callable[[float], Tensor], h: float) -> Tensor:
    return (function(h) - function(-h)) / (2 * h)


def _agree(what: str, found: float, difference: Callable[[float], float], least: float) -> float:
    """Return the relative error of the first step that agrees; raise LawViolation if none does."""
    best, at, expected = torch.inf, STEPS[0], found
    for h in STEPS:
        each = difference(h)
        error = abs(found - each) / (max(abs(found), abs(each), least) or 1.0)
        if error <= AGREEMENT:
            return error
        # NaN is less than nothing.
        if error < best or h == STEPS[0]:
            best, at, expected = error, h, each
    raise LawViolation(
        f"{what}: expected {expected:.9g} by differences with h = {at:g}; found {found:.9g}, a "
        f"relative difference of {best:.2g} where {AGREEMENT:g} is allowed"
    )
