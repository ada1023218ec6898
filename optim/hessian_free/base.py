"""What the Hessian-free methods have in common: λ, the warm start, and how a run ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from bench.optim.hessian_free.cg import VECTORS_OF_CG, Vectors
from bench.optim.hessian_free.damping import MOST, adapted
from bench.optim.hessian_free.preconditioner import diagonal
from bench.optim.hyperparameters import Hyperparameter, UsageError, cast_all
from bench.optim.objective import Batch, Method, Objective

LAM = Hyperparameter(
    "lam", float, 45.0, "λ₀, the initial damping; 0 stays 0", low=0.0, high=MOST,
    tune=(0.1, 100.0), scale="log", grid=(0.1, 1.0, 5.0, 15.0, 45.0, 100.0),
)  # fmt: skip
LAM_FACTOR = Hyperparameter("lam_factor", float, 1.5, "λ is multiplied or divided by this", low=1.0)
PRECONDITION = Hyperparameter("precondition", bool, True, "whether CG is preconditioned")
EXPONENT = Hyperparameter("exponent", float, 0.75, "the preconditioner's power", low=0.0, high=1.0)

STALLED = 60
"""A run ends after so many steps in a row in which h was not lowered. λ has by then grown
by 1.5⁶⁰ ≈ 4e10, and every chunk has had its turn; a λ that cannot grow ends the same way."""


@dataclass
class State:
    """λ, the last CG iterate, and the memory that every iteration uses again."""

    lam: float
    last: Float[Tensor, "1 P"]
    vectors: Vectors
    gradient: Float[Tensor, "1 P"]
    point: Float[Tensor, "1 P"]
    """θ + rate·p, where h is evaluated."""
    stalled: int = 0
    """Steps in a row in which h was not lowered."""


class OneTrial:
    """A Hessian-free method trains one trial at a time: CG runs stop at different steps."""

    name: ClassVar[str]
    space: ClassVar[tuple[Hyperparameter, ...]]
    backends: ClassVar[tuple[str, ...]] = ("torch",)
    cost_of_a_step: float | None = None
    fleet_key: tuple[Any, ...] | None = None
    hyperparameters: Mapping[str, Any]

    def __init__(self, backend: str = "torch", **hyperparameters: object) -> None:
        self.backend = backend
        self.hyperparameters = cast_all(self.space, hyperparameters, self.name)

    @property
    def vectors(self) -> int:
        """θ and θ + rate·p, g and the objective's gradient, M, the warm start, and CG's own."""
        return 6 + VECTORS_OF_CG

    def join(self, others: list[Any]) -> Method:
        """Refuse."""
        raise UsageError(
            f"{self.name} trains one trial at a time; run each trial in a fleet of its own."
        )

    def start(self, theta: Float[Tensor, "1 P"]) -> dict[str, Any]:
        """Return what `State` is made of before the first step: λ₀ and a warm start of 0."""
        if theta.shape[0] != 1:
            raise UsageError(
                f"{self.name} trains one trial at a time; it was given {theta.shape[0]} rows."
            )
        return {
            "lam": self.hyperparameters["lam"],
            "last": torch.zeros_like(theta),
            "vectors": Vectors(theta),
            "gradient": torch.zeros_like(theta),
            "point": torch.zeros_like(theta),
        }

    def preconditioner(
        self,
        theta: Float[Tensor, "1 P"],
        objective: Objective,
        on: Batch,
        shift: float,
    ) -> Float[Tensor, "1 P"] | None:
        """Return M, or None where CG is not preconditioned; `shift` is λ + L2."""
        if not self.hyperparameters["precondition"]:
            return None
        return diagonal(
            objective.squared_gradient(theta, on), shift, self.hyperparameters["exponent"]
        )

    def conclude(self, state: State, rho: float, lowered: bool, sound: bool) -> dict[str, str]:
        """Change the state as a step ends; return the report's "stop", if it is the last.

        Args:
            state: λ, warm start and the count of stalled steps change in place.
            rho: ρ of this step.
            lowered: whether h was lowered, or rose as the model had foretold.
            sound: whether this step's CG iterate may be the next one's warm start.
        """
        hp = self.hyperparameters
        state.lam = adapted(state.lam, rho, hp["lam_factor"], start=hp["lam"])
        if sound:
            state.last.copy_(state.vectors.x)
        else:
            state.last.zero_()
        state.stalled = 0 if lowered else state.stalled + 1
        if state.stalled < STALLED:
            return {}
        return {"stop": "The loss cannot be lowered further at this precision."}

    def anytime_updates(self, budget: int | None) -> float:
        """Return ∞: λ, the batches and CG never look at the budget."""
        return math.inf

    def iterate(self, theta: Float[Tensor, "1 P"], state: State) -> Float[Tensor, "1 P"]:
        """Return θ itself."""
        return theta

    def state_dict(self, state: State) -> dict[str, Any]:
        """Return λ, the last CG iterate and counts; everything else is made anew in every step."""
        return {"lam": state.lam, "last": state.last.clone(), "stalled": state.stalled}

    def load_state_dict(self, state: State, saved: Mapping[str, Any]) -> None:
        """Put λ, the last CG iterate and the counts back, exactly."""
        state.lam = float(saved["lam"])
        state.last.copy_(saved["last"])
        state.stalled = int(saved["stalled"])


def reason_to_stop(before: float, gradient: Float[Tensor, "1 P"]) -> str | None:
    """Say why nothing can follow from h(θ) and its gradient, if so; the loss itself is finite."""
    if not math.isfinite(before):
        return "The regulariser is not finite although the loss is."
    if not gradient.isfinite().all():
        return "The gradient is not finite although the loss is."
    return None if gradient.any() else "The gradient is zero: θ is a stationary point."
