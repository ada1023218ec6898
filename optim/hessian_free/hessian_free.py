"""Hessian-free optimization (Martens 2010): the parts put together.

With h(θ) = f(θ) + ½ L2 ‖θ‖², one iteration is

    g     ∇h on the gradient batch (the whole training set by default)
    A     G + L2 + λ, G the Gauss–Newton matrix on one chunk, chunks taken in turn
    x₀    decay × the last CG iterate of the previous iteration
    M     (mean over cases of the squared per-case gradient + λ + L2)^exponent
    CG    on A x = −g from x₀, preconditioned by M, until φ makes too little progress
    p     the best of the kept CG iterates on h, from last to first
    ρ     (h(θ+p) − h(θ)) / q(p) on the chunk, q(p) = gᵀp + ½pᵀ(G + L2)p
    rate  1, × 0.8 up to 60 times, until h(θ + rate·p) ≤ h(θ) + 0.01·rate·gᵀp, else 0
    λ     ρ < ¼: × 3/2;  ρ > ¾: × 2/3
    θ     += rate·p

Implementations differ in details that change results. The choices made here are
in `HessianFree.choices`, a sentence each, so that they can be recorded with a result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from optim.hessian_free.cg import Vectors, conjugate_gradients
from optim.hessian_free.curvature import Regularized, chunk_size, dot
from optim.hessian_free.damping import adapted, exhausted, reduction_ratio
from optim.hessian_free.line_search import backtrack, search
from optim.hessian_free.preconditioner import diagonal
from optim.hyperparameters import Hyperparameter, UsageError, cast_all
from optim.objective import FULL, Method, Objective


@dataclass
class State:
    """λ, the last CG iterate, and the memory that every iteration uses again."""

    lam: float
    last: Float[Tensor, "1 P"]
    vectors: Vectors
    gradient: Float[Tensor, "1 P"]
    point: Float[Tensor, "1 P"]


class HessianFree:
    """Truncated Newton on the damped Gauss–Newton matrix, A p = −g by preconditioned CG.

    A step changes θ and the state only at its very end, so a step that `BudgetSpent`
    cuts short leaves both as they were.
    """

    name: ClassVar[str] = "hf"
    reference: ClassVar[str] = (
        "Martens (2010), Deep learning via Hessian-free optimization; "
        "Martens & Sutskever (2012), Training deep and recurrent networks with "
        "Hessian-free optimization"
    )
    space: ClassVar[tuple[Hyperparameter, ...]] = (
        Hyperparameter(
            "batch", int, 0, "cases of the gradient and the searches; 0: the whole set", low=0
        ),
        Hyperparameter(
            "chunks", int, 4, "the curvature batch is this part of the training set", low=1,
            tune=(1, 16), scale="log",
        ),
        Hyperparameter(
            "l2", float, 2e-5, "L2: h = f + ½ L2 ‖θ‖²", low=0.0
        ),
        Hyperparameter(
            "lam", float, 45.0, "λ₀, the initial damping; 0 stays 0", low=0.0,
            tune=(0.1, 100.0), scale="log", grid=(0.1, 1.0, 5.0, 15.0, 45.0, 100.0),
        ),
        Hyperparameter("lam_factor", float, 1.5, "λ is multiplied or divided by this", low=1.0),
        Hyperparameter("cg_max", int, 250, "CG steps of an iteration, at most", low=1),
        Hyperparameter(
            "cg_tolerance", float, 5e-4, "CG stops below this relative progress a step", low=0.0
        ),
        Hyperparameter(
            "decay", float, 0.95, "CG starts from this times its last iterate", low=0.0, high=1.0
        ),
        Hyperparameter("precondition", bool, True, "whether CG is preconditioned"),
        Hyperparameter("exponent", float, 0.75, "the preconditioner's power", low=0.0, high=1.0),
    )  # fmt: skip
    choices: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "regulariser": "L2 acts on all parameters, biases included; the per-case gradients "
            "of the preconditioner leave it out.",
            "stop rule": "CG stops at step i > k if φ(x_i) < 0 and (φ(x_i) − φ(x_{i−k})) / "
            "φ(x_i) < k·cg_tolerance, k = max(10, ⌈0.1 i⌉).",
            "warm start": "CG starts from decay times the previous run's last iterate, not the "
            "backtracked one; after a non-finite run it starts from 0.",
            "preconditioner": "The squared per-case gradient is averaged over the gradient batch, "
            "which costs one more pass over it.",
            "backtracking grid": "Iterates are kept at i = ⌈5·1.3^j⌉ and at the last step, and "
            "evaluated on the gradient batch from last to first until h gets worse.",
            "reduction ratio": "ρ's numerator is the change of h on the curvature chunk from θ to "
            "θ+p, p the backtracked iterate at rate 1; ρ = −∞ if h rose.",
            "reduction denominator": "gᵀp + ½pᵀ(G + L2)p with G on the chunk and g on the gradient "
            "batch, measured from θ and without λ.",
            "line search": "Rate 1, × 0.8 up to 60 times, until h on the gradient batch fulfils "
            "Armijo's condition with c = 0.01; otherwise the step is rejected.",
            "damping bounds": "λ stays within a factor of 1e10 of λ₀; a step rejected at the upper "
            "bound ends the trial.",
        }
    )

    backends: ClassVar[tuple[str, ...]] = ("torch",)
    cost_of_a_step: float | None = None
    fleet_key: tuple[Any, ...] | None = None
    hyperparameters: Mapping[str, Any]

    def __init__(self, backend: str = "torch", **hyperparameters: object) -> None:
        self.backend = backend
        self.hyperparameters = cast_all(self.space, hyperparameters, self.name)

    def join(self, others: list[Any]) -> Method:
        """Refuse: CG runs of different trials stop at different steps."""
        raise UsageError("hf trains one trial at a time; run each trial in a fleet of its own.")

    def init(self, theta: Float[Tensor, "1 P"], seed: int, budget: int | None) -> State:
        """Return λ₀ and a warm start of 0; neither `seed` nor `budget` matters to this method."""
        if theta.shape[0] != 1:
            raise UsageError(f"hf trains one trial at a time; it was given {theta.shape[0]} rows.")
        return State(
            lam=self.hyperparameters["lam"],
            last=torch.zeros_like(theta),
            vectors=Vectors(theta),
            gradient=torch.zeros_like(theta),
            point=torch.zeros_like(theta),
        )

    def step(
        self, theta: Float[Tensor, "1 P"], objective: Objective, state: State
    ) -> Mapping[str, Any]:
        """Make one iteration; θ and the state change at its end.

        The report has the loss, f(θ) before the step, and numbers: "cg_steps" done and
        "kept", the "iterate" that backtracking chose, "lambda" in this iteration, "rho"
        (−∞ where h rose), "rate" (0: rejected), "model_decrease" −q(p), "decrease" of h,
        and "evaluations" of h on the gradient batch.
        """
        hp, lam, g, vectors = self.hyperparameters, state.lam, state.gradient, state.vectors
        h = Regularized(objective, hp["l2"])
        cases = objective.next_batch(hp["batch"] or FULL)
        size = chunk_size(objective.next_batch(FULL).cases, hp["chunks"])
        chunk = objective.next_batch(size, "curvature")

        def along(p: Float[Tensor, "1 P"], rate: float = 1.0) -> Float[Tensor, "1 P"]:
            return torch.add(theta, p, alpha=rate, out=state.point)

        loss = h.gradient(theta, cases, out=g)
        before = loss.item() + h.penalty(theta)
        report = _report(loss, lam)
        if not math.isfinite(loss.item()):
            return report
        if reason := _reason_to_stop(g):
            return report | {"stop": reason}

        m = None
        if hp["precondition"]:
            m = diagonal(objective.squared_gradient(theta, cases), lam + hp["l2"], hp["exponent"])
        a = h.curvature(theta, chunk, lam)
        torch.mul(state.last, hp["decay"], out=vectors.x)
        cg = conjugate_gradients(a, g, m, vectors, hp["cg_max"], hp["cg_tolerance"])
        report |= {"cg_steps": cg.steps, "kept": len(cg.iterates)}

        rho, rate = -math.inf, 0.0
        if cg.iterates:
            best = backtrack(cg.iterates, lambda x: h.loss(along(x), cases))
            p = best.iterate.x
            # φ(p) is known from CG and holds λ; q(p), the model without damping, costs no product.
            q = best.iterate.model - 0.5 * lam * dot(p, p).item()
            rho = reduction_ratio(h.loss(theta, chunk), h.loss(along(p), chunk), q)
            found = search(
                lambda r: h.loss(along(p, r), cases), before, dot(g, p).item(), best.value
            )
            rate = found.rate
            report |= {
                "iterate": best.iterate.step,
                "rho": rho,
                "rate": rate,
                "model_decrease": -q,
                "decrease": before - found.value,
                "evaluations": best.evaluations + found.evaluations,
            }

        # Nothing below can be cut short: θ and the state change together or not at all.
        state.lam = adapted(lam, rho, hp["lam_factor"], start=hp["lam"])
        state.last, vectors.x = vectors.x, state.last
        if cg.ended == "not finite":
            state.last.zero_()
        if rate > 0:
            theta.add_(p, alpha=rate)
        elif exhausted(state.lam, start=hp["lam"]):
            report["stop"] = "The loss cannot be lowered further at this precision."
        return report

    def iterate(self, theta: Float[Tensor, "1 P"], state: State) -> Float[Tensor, "1 P"]:
        """Return θ itself."""
        return theta

    def state_dict(self, state: State) -> dict[str, Any]:
        """Return λ and the last CG iterate; everything else is made anew in every step."""
        return {"lam": state.lam, "last": state.last.clone()}

    def load_state_dict(self, state: State, saved: Mapping[str, Any]) -> None:
        """Put λ and the last CG iterate back, exactly."""
        state.lam = float(saved["lam"])
        state.last.copy_(saved["last"])


def _report(loss: Float[Tensor, " 1"], lam: float) -> dict[str, Any]:
    """Return the report of a step that has not moved."""
    numbers = ("rate", "model_decrease", "decrease", "cg_steps", "kept", "iterate", "evaluations")
    return {"loss": loss, "lambda": lam, "rho": -math.inf} | dict.fromkeys(numbers, 0)


def _reason_to_stop(gradient: Float[Tensor, "1 P"]) -> str | None:
    if not gradient.isfinite().all():
        return "The gradient is not finite although the loss is."
    return None if gradient.any() else "The gradient is zero: θ is a stationary point."
