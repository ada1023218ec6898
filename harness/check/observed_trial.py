"""A few steps of a method on a small problem, on the CPU, with every evaluation."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.harness.check.laws import LawViolation
from bench.harness.core.spec import Budget
from bench.harness.distributed.ranks import SINGLE_PROCESS, Ranks
from bench.harness.training.bound_objective import BoundObjective, initial_parameters
from bench.harness.training.cases import Cases, DeviceData
from bench.harness.training.ledger import Account, Clock
from bench.harness.training.method_layout import for_layout
from bench.harness.training.method_stream import with_random_stream
from bench.models.problem import DataSource, Problem
from bench.optim.objective import Batch, Curvature, Method

CPU = torch.device("cpu")
STEPS = 10
PATIENCE = 1_000
"""Evaluations that a step may request; a limit for line searches that do not end."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the loss, alone or with its gradient: parameters, cases and value.

    θ is a copy.
    """

    theta: Tensor
    cases: Cases
    loss: Tensor


class RecordingObjective(BoundObjective):
    """An objective that records its evaluations."""

    asked: list[Evaluation]

    def loss(self, theta: Tensor, on: Batch) -> Tensor:
        """Return f(θ), and record it."""
        return self._noted(theta, on, super().loss(theta, on))

    def gradient(self, theta: Tensor, on: Batch) -> tuple[Tensor, Tensor]:
        """Return f(θ) and ∇f(θ), and record the first."""
        value, gradient = super().gradient(theta, on)
        return self._noted(theta, on, value), gradient

    def hessian(self, theta: Tensor, on: Batch) -> tuple[Tensor, Tensor, Curvature]:
        """Return f(θ), ∇f(θ) and v ↦ H v, and record the first."""
        value, gradient, product = super().hessian(theta, on)
        return self._noted(theta, on, value), gradient, product

    def gradient_parts(self, theta: Tensor, on: Batch) -> tuple[Tensor, list[Tensor]]:
        """Return f(θ) and the parts of ∇f(θ), and record the first."""
        asked = len(self.asked)
        value, parts = super().gradient_parts(theta, on)
        # It may have asked `gradient`, which has recorded it.
        return (self._noted(theta, on, value) if len(self.asked) == asked else value), parts

    def _noted(self, theta: Tensor, on: Batch, value: Tensor) -> Tensor:
        assert isinstance(on, Cases)
        if len(self.asked) == PATIENCE:
            raise LawViolation(
                f"expected the step to end; found {PATIENCE:,} evaluations of the loss in it"
            )
        self.asked.append(Evaluation(theta.detach().clone(), on, value.clone()))
        return value


class ObservedTrial:
    """A method on a problem before its first step, with one row for each seed."""

    def __init__(
        self,
        method: Method,
        problem: Problem,
        seeds: Sequence[int] = (0,),
        budget: int = STEPS,
        ranks: Ranks = SINGLE_PROCESS,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.problem = problem
        method = for_layout(method, problem.layout)
        self.method = method = with_random_stream(method, seeds, CPU)
        self.account = Account(Budget("gradients", 1e12), Clock(CPU))
        self.data = DeviceData.from_data(problem.data(DataSource(())), CPU, dtype)
        self.objective = RecordingObjective(
            problem, self.data, list(seeds), self.account, ranks, method.name
        )
        self.objective.asked = []
        self.theta = initial_parameters(problem, list(seeds), CPU, dtype)
        self.state = method.init(self.theta, seeds[0], budget)
        self.reports: list[Mapping[str, Any]] = []
        self.costs: list[float] = []

    @torch.no_grad()
    def step(self, times: int = STEPS) -> ObservedTrial:
        """Make `times` updates, or fewer if the method stops the trial."""
        for _ in range(times):
            if self.stopped:
                break
            before = self.account.gradients
            self.objective.asked.clear()
            with self.objective.watch.step():
                report = self.method.step(self.theta, self.objective.for_method, self.state)
            self.reports.append(report)
            self.costs.append(self.account.gradients - before)
        return self

    def step_until_moved(self) -> ObservedTrial:
        """Make updates until the evaluated parameters change, STEPS · 10 at most."""
        begin = self.iterate.clone()
        while len(self.reports) < 10 * STEPS and not self.stopped:
            if self.step(1).iterate.ne(begin).any():
                break
        return self

    @property
    def stopped(self) -> bool:
        """Whether the method has ended the trial."""
        return bool(self.reports) and "stop" in self.reports[-1]

    @property
    def asked(self) -> list[Evaluation]:
        """The evaluations of the last step."""
        return self.objective.asked

    @property
    @torch.no_grad()
    def iterate(self) -> Tensor:
        """The parameters that are evaluated."""
        return self.method.iterate(self.theta, self.state)

    def loss(self) -> float:
        """Return f at the iterate over all training cases, without a charge to the ledger."""
        train = self.data.train
        return float(self.problem.passes().loss(self.iterate, train.inputs, train.targets))

    def saved(self) -> dict[str, Any]:
        """Return a checkpoint read back from its bytes; raise LawViolation if it is not plain."""
        file = io.BytesIO()
        state = self.method.state_dict(self.state)
        torch.save({"theta": self.theta, "state": state}, file)
        file.seek(0)
        if strange := torch.serialization.get_unsafe_globals_in_checkpoint(file):
            raise LawViolation(
                f"expected a state of tensors and plain values; found {', '.join(sorted(strange))}"
            )
        file.seek(0)
        read: dict[str, Any] = torch.load(file, weights_only=True)
        return {**read, "positions": self.objective.batches.positions()}

    def restore(self, saved: Mapping[str, Any]) -> ObservedTrial:
        """Continue from a checkpoint."""
        self.theta.copy_(saved["theta"])
        self.method.load_state_dict(self.state, saved["state"])
        self.objective.batches.restore_positions(saved["positions"])
        return self
