"""Any torch.optim.Optimizer as a method: `torch.optim.AdamW[lr=1e-3]`.

The optimizer sees one flat parameter of shape (1, P) and gets the gradient that the
objective computes; its hyperparameters are its constructor's keyword arguments.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from optim.hyperparameters import Hyperparameter, UsageError, cast_all, nearest
from optim.momentum import BATCH
from optim.objective import Method, Objective

TORCH_PREFIX = "torch.optim."

UNSUITED = (
    torch.optim.Optimizer,
    torch.optim.LBFGS,
    torch.optim.SparseAdam,
    # These treat a weight matrix as a matrix; θ has lost its shape.
    torch.optim.Muon,
    torch.optim.Adafactor,
)

HOW_TORCH_COMPUTES = ("capturable", "differentiable", "foreach", "fused")
"""Arguments that say nothing of the method."""


MADE_IN_A_STEP = 3
"""Tensors of θ's size that any of torch's optimizers makes and drops within a step, at most."""


@dataclass
class State:
    """The optimizer, holding θ's own memory as its parameter."""

    parameter: torch.nn.Parameter
    optimizer: torch.optim.Optimizer


class TorchMethod(Method):
    """The step of a torch optimizer, fed by `Objective.gradient`; K = 1."""

    reference = "torch.optim"
    backends = ("torch",)
    optimizer: ClassVar[type[torch.optim.Optimizer]]
    hyperparameters: Mapping[str, Any]

    def __init__(self, backend: str = "torch", **given: object) -> None:
        self.backend = backend
        self.hyperparameters = cast_all(self.space, given, self.name)
        # Said now, before anything has run.
        try:
            self._optimizer_of(torch.zeros(1, 1))
        except (TypeError, ValueError) as error:
            reason = str(error).rstrip(".")
            raise UsageError(f"{self.name} refuses its hyperparameters: {reason}.") from error

    @property
    def cost_of_a_step(self) -> float:
        """One gradient on every case of the batch."""
        return float(self.hyperparameters["batch"])

    @property
    def fleet_key(self) -> None:
        """One trial at a time: torch's optimizers have no rate per row."""
        return None

    @property
    def vectors(self) -> int:
        """θ, the gradient and its copy, the optimizer's state, and what its step makes."""
        tried = self._optimizer_of(torch.zeros(1, 2))
        tried.parameter.grad = torch.zeros(1, 2)
        tried.optimizer.step()
        state = tried.optimizer.state[tried.parameter].values()
        held = sum(isinstance(each, Tensor) and each.numel() == 2 for each in state)
        return 3 + held + MADE_IN_A_STEP

    @property
    def linearized(self) -> float:
        """No curvature."""
        return 0.0

    def join(self, others: list[Any]) -> Method:
        """Refuse."""
        raise UsageError(f"{self.name} trains one trial at a time; run each in its own fleet.")

    def init(self, theta: Float[Tensor, "1 P"], seed: int, budget: int | None) -> State:
        """Make the optimizer on θ's memory."""
        if theta.shape[0] != 1:
            raise UsageError(
                f"{self.name} trains one trial at a time; it was given {theta.shape[0]} rows."
            )
        return self._optimizer_of(theta)

    def step(
        self, theta: Float[Tensor, "1 P"], objective: Objective, state: State
    ) -> Mapping[str, Any]:
        """Make one update."""
        batch = objective.next_batch(self.hyperparameters["batch"])
        loss, gradient = objective.gradient(theta, on=batch)
        # Some optimizers write over the gradient, which is the objective's memory.
        state.parameter.grad = gradient.clone()
        state.optimizer.step()
        return {"loss": loss}

    def iterate(self, theta: Float[Tensor, "1 P"], state: State) -> Float[Tensor, "1 P"]:
        """Return what the optimizer holds (for torch's nesterov that is its look-ahead point)."""
        return theta

    def state_dict(self, state: State) -> dict[str, Any]:
        """Return the optimizer's own state."""
        # torch hands out, and takes in, the very tensors that later steps write over.
        return {"optimizer": copy.deepcopy(state.optimizer.state_dict())}

    def load_state_dict(self, state: State, saved: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        state.optimizer.load_state_dict(copy.deepcopy(saved["optimizer"]))
        # torch has cast everything to θ's type, also NAdam's product, which is float32 always.
        own = state.optimizer.state[state.parameter]
        for name, value in saved["optimizer"]["state"].get(0, {}).items():
            if isinstance(value, Tensor):
                own[name] = own[name].to(value.dtype)

    def _optimizer_of(self, theta: Float[Tensor, "1 P"]) -> State:
        given = {k: v for k, v in self.hyperparameters.items() if k != "batch"}
        parameter = torch.nn.Parameter(theta)
        return State(parameter, self.optimizer([parameter], **given))


def adapt(name: str) -> type[TorchMethod]:
    """Return the method class for `torch.optim.NAME`."""
    short = name.removeprefix(TORCH_PREFIX)
    known = {
        key: value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type)
        and issubclass(value, torch.optim.Optimizer)
        and value not in UNSUITED
    }
    if short not in known:
        raise UsageError(
            f"torch.optim has no {short!r} that moves each number of a flat θ by one gradient "
            f"a step{nearest(short, known)}"
        )
    space = tuple(_declared(known[short]))
    return type(short, (TorchMethod,), {"name": name, "optimizer": known[short], "space": space})


def _declared(optimizer: type[torch.optim.Optimizer]) -> list[Hyperparameter]:
    """Turn the constructor's numeric and boolean keyword arguments into hyperparameters."""
    declared = [BATCH]
    for parameter in list(inspect.signature(optimizer).parameters.values())[1:]:
        default = parameter.default
        if parameter.name not in HOW_TORCH_COMPUTES and isinstance(default, bool | int | float):
            kind = type(default) if isinstance(default, bool) else float
            declared.append(Hyperparameter(parameter.name, kind, default, "see torch's manual"))
    return declared
