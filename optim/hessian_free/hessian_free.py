"""Hessian-free optimization (Martens 2010): the parts put together.

With h(θ) = f(θ) + ½ L2 ‖θ‖², one iteration is

    g     ∇h on the gradient batch (the whole training set by default)
    A     G + λμ G_S + L2 + λ, G the Gauss–Newton matrix on one chunk, chunks taken in turn,
          G_S structural damping for recurrent networks (μ = 0: none)
    x₀    decay × the last CG iterate of the previous iteration
    M     (mean over cases of the squared per-case gradient + λ + L2)^exponent
    CG    on A x = −g from x₀, preconditioned by M, until φ makes too little progress
    p     the best of the kept CG iterates on h, from last to first
    ρ     (h(θ+p) − h(θ)) / q(p) on the chunk, q(p) = gᵀp + ½pᵀ(G + L2)p;
          on the gradient batch, where that is a sample
    rate  1, × 0.8 up to 60 times, until h(θ + rate·p) ≤ h(θ) + 0.01·rate·gᵀp, else 0
    λ     ρ < ¼: × 3/2;  ρ > ¾: × 2/3
    θ     += rate·p

Implementations differ in details that change results. The choices made here are
in `HessianFree.choices`, a sentence each, so that they can be recorded with a result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from bench.optim.hessian_free.base import (
    EXPONENT,
    LAM,
    LAM_FACTOR,
    PRECONDITION,
    OneTrial,
    State,
    reason_to_stop,
)
from bench.optim.hessian_free.batches import curvature_batch, gradient_batch
from bench.optim.hessian_free.cg import conjugate_gradients, kept_steps
from bench.optim.hessian_free.curvature import Regularized
from bench.optim.hessian_free.damping import MOST, reduction_ratio
from bench.optim.hessian_free.line_search import backtrack, search
from bench.optim.hyperparameters import Hyperparameter
from bench.optim.objective import Objective


class HessianFree(OneTrial):
    """Truncated Newton on the damped Gauss–Newton matrix, A p = −g by preconditioned CG.

    A step changes θ and the state only at its very end, so a step that `BudgetSpent`
    cuts short leaves both as they were.
    """

    name: ClassVar[str] = "hf"
    reference: ClassVar[str] = (
        "Martens (2010), Deep learning via Hessian-free optimization; "
        "Martens & Sutskever (2011), Learning recurrent neural networks with "
        "Hessian-free optimization; Martens & Sutskever (2012), Training deep and "
        "recurrent networks with Hessian-free optimization"
    )
    space: ClassVar[tuple[Hyperparameter, ...]] = (
        Hyperparameter(
            "batch", int, 0, "cases of the gradient and the searches; 0: the whole set", low=0
        ),
        Hyperparameter(
            "chunks", int, 4, "the curvature batch is this part of the gradient batch", low=1,
            tune=(1, 16), scale="log",
        ),
        Hyperparameter(
            "l2", float, 2e-5, "L2: h = f + ½ L2 ‖θ‖²", low=0.0, high=MOST
        ),
        LAM,
        LAM_FACTOR,
        Hyperparameter(
            "structural", float, 0.0,
            "μ: structural damping λμ G_S of recurrent networks (published: 1/30); 0: none",
            low=0.0, high=1.0,
        ),
        Hyperparameter(
            "structural_factor", float, 1.0,
            "of G_S; 1: as printed, 1 − h²; 0.25: as in its authors' code",
            low=0.0, open_low=True, high=1.0,
        ),
        Hyperparameter("cg_max", int, 250, "CG steps of an iteration, at most", low=1),
        Hyperparameter(
            "cg_tolerance", float, 5e-4, "CG stops below this relative progress a step", low=0.0
        ),
        Hyperparameter(
            "decay", float, 0.95, "CG starts from this times its last iterate", low=0.0, high=1.0
        ),
        PRECONDITION,
        EXPONENT,
    )  # fmt: skip
    choices: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "regulariser": "L2 acts on all parameters, biases included; the per-case gradients "
            "of the preconditioner leave it out.",
            "chunks": "The curvature batch is ⌈gradient batch / chunks⌉ cases of a stream of its "
            "own; with one chunk it is the gradient batch, and h there is computed once.",
            "structural damping": "λμ·factor·G_S is part of A and scales with λ; the "
            "preconditioner leaves it out.",
            "stop rule": "CG stops at step i > k if φ(x_i) < 0 and (φ(x_i) − φ(x_{i−k})) / "
            "φ(x_i) < k·cg_tolerance, k = max(10, ⌈0.1 i⌉).",
            "warm start": "CG starts from decay times the previous run's last iterate, not the "
            "backtracked one; after a non-finite run it starts from 0.",
            "preconditioner": "The squared per-case gradient is averaged over the gradient batch, "
            "which costs one more pass over it.",
            "backtracking grid": "Iterates are kept at i = ⌈5·1.3^j⌉ and at the last step, and "
            "evaluated on the gradient batch from last to first until h gets worse.",
            "reduction ratio": "ρ's numerator is the change of h from θ to θ+p, p the backtracked "
            "iterate at rate 1, on the curvature chunk if the gradient is that of the whole set, "
            "else on the gradient batch: on other cases the change is mostly one of cases, and λ "
            "grows for nothing; ρ = −∞ if h rose.",
            "reduction denominator": "gᵀp + ½pᵀ(G + L2)p with G on the chunk and g on the gradient "
            "batch, measured from θ and without λ and G_S; φ(p) − ½λ‖p‖² gives it without a "
            "product, but with G_S it takes one more linearisation and product.",
            "line search": "Rate 1, × 0.8 up to 60 times, until h on the gradient batch fulfils "
            "Armijo's condition with c = 0.01; otherwise the step is rejected.",
            "damping bounds": "λ stays within a factor of 1e10 of λ₀ and within 1e-30 to 1e30.",
            "ending": "60 steps in a row that do not lower h end the trial.",
        }
    )

    @property
    def vectors(self) -> int:
        """The vectors of every Hessian-free method, and the iterates that CG keeps."""
        return super().vectors + len(kept_steps(self.hyperparameters["cg_max"]))

    @property
    def linearized(self) -> float:
        """A chunk; twice with structural damping, where q(p) takes a linearisation of its own."""
        times = 2 if self.hyperparameters["structural"] else 1
        return times / float(self.hyperparameters["chunks"])

    def init(self, theta: Float[Tensor, "1 P"], seed: int, budget: int | None) -> State:
        """Return λ₀ and a warm start of 0; neither `seed` nor `budget` matters to this method."""
        return State(**self.start(theta))

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
        cases = gradient_batch(objective, hp["batch"])
        chunk = curvature_batch(objective, cases, hp["chunks"])
        structural = lam * hp["structural"] * hp["structural_factor"] if hp["structural"] else None

        def along(p: Float[Tensor, "1 P"], rate: float = 1.0) -> Float[Tensor, "1 P"]:
            return torch.add(theta, p, alpha=rate, out=state.point)

        loss = h.gradient(theta, cases, out=g)
        before = loss.item() + h.penalty(theta)
        report = _report(loss, lam)
        if not math.isfinite(loss.item()):
            return report
        if reason := reason_to_stop(before, g):
            return report | {"stop": reason}

        m = self.preconditioner(theta, objective, cases, lam + hp["l2"])
        a = h.curvature(theta, chunk, lam, structural)
        torch.mul(state.last, hp["decay"], out=vectors.x)
        cg = conjugate_gradients(
            a, g, m, vectors, hp["cg_max"], hp["cg_tolerance"], dots=objective.dots
        )
        report |= {"cg_steps": cg.steps, "kept": len(cg.iterates)}

        rho, rate, q = -math.inf, 0.0, math.nan
        if cg.iterates:
            best = backtrack(cg.iterates, lambda x: h.loss(along(x), cases))
            p = best.iterate.x
            # φ(p) is known from CG and holds λ; q(p), the model without damping, costs no product.
            # It is not finite where ‖p‖² is not, and such a step is of no use.
            q = best.iterate.model - 0.5 * lam * h.dot(p, p)
            if structural is not None and math.isfinite(q):
                q = h.model(theta, chunk, g, p)
        if math.isfinite(q):
            known = hp["batch"] > 0 or chunk is cases
            rho = reduction_ratio(
                before if known else h.loss(theta, chunk),
                best.value if known else h.loss(along(p), chunk),
                q,
            )
            found = search(lambda r: h.loss(along(p, r), cases), before, h.dot(g, p), best.value)
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
        if rate > 0:
            theta.add_(p, alpha=rate)
        lowered = report["decrease"] > 0
        return report | self.conclude(state, rho, lowered, sound=math.isfinite(q))


def _report(loss: Float[Tensor, " 1"], lam: float) -> dict[str, Any]:
    """Return the report of a step that has not moved."""
    numbers = ("rate", "model_decrease", "decrease", "cg_steps", "kept", "iterate", "evaluations")
    return {"loss": loss, "lambda": lam, "rho": -math.inf} | dict.fromkeys(numbers, 0)
