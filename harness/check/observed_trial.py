"""A few steps of a method on a small problem, in float64 on the CPU, and all that was asked."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.harness.check.laws import Broken
from bench.harness.core.spec import Budget
from bench.harness.distributed.ranks import ALONE, Ranks
from bench.harness.training.bound_objective import BoundObjective, initial_parameters
from bench.harness.training.cases import Cases, DeviceData
from bench.harness.training.ledger import Account, Clock
from bench.models.problem import DataSource, Problem
from bench.optim.objective import Batch, Method

CPU = torch.device("cpu")
STEPS = 10
PATIENCE = 1_000
"""Losses that a step may ask for, so that a line search without end has one."""


@dataclass(frozen=True)
class Asked:
    """A loss that a method asked for, alone or with its gradient: where, on what, and the answer.

    θ is a copy.
    """

    theta: Tensor
    cases: Cases
    loss: Tensor


class Watched(BoundObjective):
    """Notes what it is asked for."""

    asked: list[Asked]

    def loss(self, theta: Tensor, on: Batch) -> Tensor:
        """Return f(θ), and note it."""
        return self._noted(theta, on, super().loss(theta, on))

    def gradient(self, theta: Tensor, on: Batch) -> tuple[Tensor, Tensor]:
        """Return f(θ) and ∇f(θ), and note the first."""
        value, gradient = super().gradient(theta, on)
        return self._noted(theta, on, value), gradient

    def _noted(self, theta: Tensor, on: Batch, value: Tensor) -> Tensor:
        assert isinstance(on, Cases)
        if len(self.asked) == PATIENCE:
            raise Broken(f"expected an end of the step; found {PATIENCE:,} losses asked for in it")
        self.asked.append(Asked(theta.detach().clone(), on, value.clone()))
        return value


class Trial:
    """A method on a problem, a seed a row, before its first step."""

    def __init__(
        self,
        method: Method,
        problem: Problem,
        seeds: Sequence[int] = (0,),
        budget: int = STEPS,
        ranks: Ranks = ALONE,
    ) -> None:
        self.method, self.problem = method, problem
        self.account = Account(Budget("gradients", 1e12), Clock(CPU))
        self.data = DeviceData.put(problem.data(DataSource(())), CPU, torch.float64)
        self.objective = Watched(problem, self.data, list(seeds), self.account, ranks)
        self.objective.asked = []
        self.theta = initial_parameters(problem, list(seeds), CPU, torch.float64)
        self.state = method.init(self.theta, seeds[0], budget)
        self.reports: list[Mapping[str, Any]] = []
        self.costs: list[float] = []

    @torch.no_grad()
    def step(self, times: int = STEPS) -> Trial:
        """Make so many updates, or fewer where the method stops of itself."""
        for _ in range(times):
            if self.stopped:
                break
            before = self.account.gradients
            self.objective.asked.clear()
            self.reports.append(self.method.step(self.theta, self.objective, self.state))
            self.costs.append(self.account.gradients - before)
        return self

    @property
    def stopped(self) -> bool:
        """Whether the method has ended the trial."""
        return bool(self.reports) and "stop" in self.reports[-1]

    @property
    def asked(self) -> list[Asked]:
        """All losses that the last step asked for."""
        return self.objective.asked

    @property
    @torch.no_grad()
    def iterate(self) -> Tensor:
        """What is evaluated."""
        return self.method.iterate(self.theta, self.state)

    def loss(self) -> float:
        """Return f at the iterate, over all training cases; nobody is charged."""
        train = self.data.train
        return float(self.problem.passes().loss(self.iterate, train.inputs, train.targets))

    def saved(self) -> dict[str, Any]:
        """Return what a checkpoint holds, read back from its bytes; Broken where it cannot be."""
        file = io.BytesIO()
        state = self.method.state_dict(self.state)
        torch.save({"theta": self.theta, "state": state}, file)
        file.seek(0)
        if strange := torch.serialization.get_unsafe_globals_in_checkpoint(file):
            raise Broken(
                f"expected a state of tensors and plain values; found {', '.join(sorted(strange))}"
            )
        file.seek(0)
        read: dict[str, Any] = torch.load(file, weights_only=True)
        return {**read, "positions": self.objective.batches.positions()}

    def restore(self, saved: Mapping[str, Any]) -> Trial:
        """Go on from a checkpoint."""
        self.theta.copy_(saved["theta"])
        self.method.load_state_dict(self.state, saved["state"])
        self.objective.batches.move_to(saved["positions"])
        return self
