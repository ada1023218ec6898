"""Momentum-like Hessian-free optimization: HF† of Sutskever et al. (2013), sec. 5 and A.6.

With h(θ) = f(θ) + ½ L2 ‖θ‖², one update is

    g     ∇h on a small batch
    A     G + L2 + λ, G the Gauss–Newton matrix on the same batch or on a part of it
    x₀    μ × the CG iterate of the previous update: μ (`decay`) plays momentum's part
    p     the iterate after a fixed number of CG steps on A x = −g from x₀
    ρ     (h(θ+p) − h(θ)) / q(p), q(p) = gᵀp + ½pᵀ(G + L2)p
    λ     ρ < ¼: × 3/2;  ρ > ¾: × 2/3
    θ     += rate·p, without a line search

On a quadratic, with one CG step, no damping and no preconditioner, the first residual is the
gradient at θ + μp, and the update is Nesterov's with the step size rᵀr / rᵀAr. On any other
function the residual is g + μGp, which differs from that gradient in second order of p and by the
part of the Hessian that G leaves out, so the update is near Nesterov's and not equal to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from bench.optim.hessian_free.cg import conjugate_gradients
from bench.optim.hessian_free.curvature import Regularized
from bench.optim.hessian_free.damping import LOW_RATIO, MOST, reduction_ratio
from bench.optim.hessian_free.phases import RECIPES, Phase, phase_at
from bench.optim.hyperparameters import Hyperparameter, UsageError
from bench.optim.objective import Objective

SINGLE = "single"


@dataclass
class MomentumState(State):
    """How far the run is, as well: what the phases and their rates depend on."""

    updates: int = 0
    cg_steps: int = 0
    """Those that the updates so far were allowed."""


class MomentumHessianFree(OneTrial):
    """Hessian-free with small batches, few CG steps and no line search, in phases.

    A step changes θ and the state only at its very end, so a step that `BudgetSpent`
    cuts short leaves both as they were.
    """

    name: ClassVar[str] = "hfm"
    reference: ClassVar[str] = (
        "Sutskever, Martens, Dahl & Hinton (2013), On the importance of initialization "
        "and momentum in deep learning, section 5 and appendix A.6"
    )
    of_a_phase: ClassVar[tuple[Hyperparameter, ...]] = (
        Hyperparameter("part", int, 16, "the gradient batch is this part of the set", low=1),
        Hyperparameter(
            "chunks", int, 1, "the curvature batch is this part of the gradient batch", low=1
        ),
        Hyperparameter("cg_steps", int, 50, "CG steps of an update", low=1),
        Hyperparameter(
            "decay", float, 0.95, "CG starts from this times its last iterate",
            low=0.0, high=1.0, tune=(0.5, 0.999), scale="log from one",
        ),
        Hyperparameter("rate", float, 1.0, "of every step", low=0.0, high=1.0, open_low=True),
        Hyperparameter("l2", float, 2e-5, "L2: h = f + ½ L2 ‖θ‖²", low=0.0, high=MOST),
    )  # fmt: skip
    space: ClassVar[tuple[Hyperparameter, ...]] = (
        Hyperparameter(
            "recipe", str, SINGLE,
            "phases: those published for curves or mnist, or a single one as given by "
            + ", ".join(h.name for h in of_a_phase),
            choices=(SINGLE, *RECIPES),
        ),
        Hyperparameter(
            "length", float, 1.0, "factor on the recipe's CG steps and on its annealing",
            low=0.0, open_low=True,
        ),
        Hyperparameter(
            "batch", int, 0, "cases of which batches are parts; 0: the whole training set", low=0
        ),
        *of_a_phase,
        LAM,
        LAM_FACTOR,
        PRECONDITION,
        EXPONENT,
    )  # fmt: skip
    choices: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "batches": "Gradient and curvature of an update see the same cases where chunks = 1.",
            "phases": "Their lengths are counted in the CG steps that updates are allowed, also "
            "where CG ended before, so that phases and the rate a/(t − b), which counts the "
            "updates of the whole run from 0 and is at most 1, keep in step; the hyperparameters "
            "recorded with a recipe are those of its first phase.",
            "CG steps": "Their number is fixed; CG ends before only where rounding leaves nothing "
            "to gain.",
            "warm start": "CG starts from decay times the previous iterate at rate 1, whatever "
            "the rate was; after a rejected step it starts from 0.",
            "preconditioner": "As in hf, with the squared gradient averaged over the gradient "
            "batch.",
            "reduction ratio": "As in hf, at θ+p: on the curvature batch if the gradient is that "
            "of the whole set, else on the gradient batch; at θ+p whatever the rate, since at a "
            "small rate any model agrees with h, and λ would fall without end.",
            "rejection": "A step is taken even if h rises; it is rejected only where p or h(θ+p) "
            "is not finite. Where ρ is measured on the very cases that p was fitted to, as with "
            "chunks=1, a batch of too few cases confirms itself and λ falls too far: take larger "
            "parts.",
            "damping bounds": "λ stays within a factor of 1e10 of λ₀ and within 1e-30 to 1e30.",
            "ending": "60 steps in a row that are rejected or do not lower h end the trial; a "
            "rise that the model foretold, to a factor of 4, is not counted.",
        }
    )

    def __init__(self, backend: str = "torch", **hyperparameters: object) -> None:
        super().__init__(backend, **hyperparameters)
        self.phases = self._phases()
        first = {h.name: getattr(self.phases[0], h.name) for h in self.of_a_phase}
        self.hyperparameters = {**self.hyperparameters, **first}

    def _phases(self) -> Sequence[Phase]:
        hp = self.hyperparameters
        given = {h.name: hp[h.name] for h in self.of_a_phase}
        if hp["recipe"] == SINGLE:
            return (Phase(**given),)
        recipe = RECIPES[hp["recipe"]]
        for h in self.of_a_phase:
            if given[h.name] not in (h.default, getattr(recipe[0], h.name)):
                raise UsageError(
                    f"{self.name}: {h.name}={given[h.name]:g}: the recipe {hp['recipe']} sets "
                    f"{h.name} for every phase. Leave it out, or write recipe={SINGLE}."
                )
        return recipe

    @property
    def linearized(self) -> float:
        """The largest curvature batch of any phase."""
        return max(1 / (phase.part * phase.chunks) for phase in self.phases)

    def init(self, theta: Float[Tensor, "1 P"], seed: int, budget: int | None) -> MomentumState:
        """Return λ₀ and a warm start of 0; neither `seed` nor `budget` matters to this method."""
        return MomentumState(**self.start(theta))

    def step(
        self, theta: Float[Tensor, "1 P"], objective: Objective, state: MomentumState
    ) -> Mapping[str, Any]:
        """Make one update; θ and the state change at its end.

        The report has the loss, f(θ) before the update, and numbers: "phase" from 1,
        "cg_steps" done, "lambda" in this update, "rho" (−∞ where h rose), "rate" (0:
        rejected), "model_decrease" −q(p), and "decrease" of h at θ+p, as ρ sees it.
        """
        hp, lam, g, vectors = self.hyperparameters, state.lam, state.gradient, state.vectors
        index = phase_at(self.phases, state.cg_steps, hp["length"])
        phase = self.phases[index]
        h = Regularized(objective, phase.l2)
        cases = gradient_batch(objective, hp["batch"], phase.part)
        chunk = curvature_batch(objective, cases, phase.chunks)

        loss = h.gradient(theta, cases, out=g)
        before = loss.item() + h.penalty(theta)
        report = _report(loss, lam, index)
        if not math.isfinite(loss.item()):
            return report
        if reason := reason_to_stop(before, g):
            return report | {"stop": reason}

        m = self.preconditioner(theta, objective, cases, lam + phase.l2)
        a = h.curvature(theta, chunk, lam)
        p = torch.mul(state.last, phase.decay, out=vectors.x)
        cg = conjugate_gradients(
            a, g, m, vectors, phase.cg_steps, tolerance=0.0, keep=False, dots=objective.dots
        )

        rho, q, decrease = -math.inf, math.nan, math.nan
        if cg.iterates:
            # φ(p) holds λ; without it the model is not finite where ‖p‖² is not.
            q = cg.iterates[-1].model - 0.5 * lam * h.dot(p, p)
        if math.isfinite(q):
            whole = hp["batch"] == 0 and phase.part == 1
            if whole and chunk is not cases:
                before = h.loss(theta, chunk)
            after = h.loss(torch.add(theta, p, out=state.point), chunk if whole else cases)
            rho, decrease = reduction_ratio(before, after, q), before - after
        sound = math.isfinite(decrease)
        rate = phase.rate_at(state.updates, hp["length"]) if sound else 0.0
        report |= {"rho": rho, "rate": rate, "cg_steps": cg.steps}
        if sound:
            report |= {"model_decrease": -q, "decrease": decrease}

        # Nothing below can be cut short: θ and the state change together or not at all.
        if sound:
            theta.add_(p, alpha=rate)
        state.updates += 1
        state.cg_steps += phase.cg_steps
        # Momentum may carry θ uphill, and then the model says so.
        lowered = sound and (decrease > 0 or LOW_RATIO * -decrease < q)
        return report | self.conclude(state, rho, lowered, sound)

    def state_dict(self, state: State) -> dict[str, Any]:
        """Return λ, the last CG iterate and counts; everything else is made anew in every step."""
        assert isinstance(state, MomentumState)
        here = {"updates": state.updates, "cg_steps": state.cg_steps}
        return super().state_dict(state) | here

    def load_state_dict(self, state: State, saved: Mapping[str, Any]) -> None:
        """Put λ, the last CG iterate and the counts back, exactly."""
        assert isinstance(state, MomentumState)
        super().load_state_dict(state, saved)
        state.updates, state.cg_steps = int(saved["updates"]), int(saved["cg_steps"])


def _report(loss: Float[Tensor, " 1"], lam: float, phase: int) -> dict[str, Any]:
    """Return the report of a step that has not moved."""
    numbers = ("rate", "model_decrease", "decrease", "cg_steps")
    return {"loss": loss, "lambda": lam, "phase": phase + 1, "rho": -math.inf} | dict.fromkeys(
        numbers, 0
    )
