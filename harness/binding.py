"""A problem and its data bound into the objective that a method sees, with the ledger."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from harness.batches import Batches
from harness.cuda_graph import Replayed, captures
from harness.ledger import Account
from harness.seeds import generator
from harness.slices import SLICE, evaluated_at_once
from models.problem import Data, Draw, Problem, to_tensor
from optim.hyperparameters import UsageError
from optim.objective import FULL, Batch, Curvature, Full, Stream

OBSERVED = 100
"""Test cases on which a network is asked what it shows of itself."""


@dataclass(frozen=True)
class Cases:
    """Inputs and targets on the device: (groups of rows that share them, cases, …)."""

    inputs: Tensor
    targets: Tensor

    @property
    def cases(self) -> int:
        """Number of cases a row."""
        return self.inputs.shape[1]

    def slices(self, most: int) -> Iterator[tuple[Cases, float]]:
        """Yield slices of at most so many cases, each with its share of the whole."""
        if self.cases <= most:
            yield self, 1.0
            return
        for start in range(0, self.cases, most):
            some = slice(start, start + most)
            part = Cases(self.inputs[:, some], self.targets[:, some])
            yield part, part.cases / self.cases


@dataclass(frozen=True)
class DeviceData:
    """Training and test sets on a device."""

    train: Cases
    test: Cases
    draw: Draw | None = None
    """Where training cases are drawn anew, how; `train` is then what trials are evaluated on."""

    @classmethod
    def put(cls, data: Data, device: torch.device, dtype: torch.dtype) -> DeviceData:
        """Copy the arrays to the device; targets that are the inputs share their memory."""

        def pair(inputs: np.ndarray, targets: np.ndarray) -> Cases:
            x = to_tensor(inputs, dtype).to(device)[None]
            same = targets is inputs
            return Cases(x, x if same else to_tensor(targets, dtype).to(device)[None])

        return cls(
            pair(data.train_inputs, data.train_targets),
            pair(data.test_inputs, data.test_targets),
            data.draw,
        )


class BoundObjective:
    """`optim.objective.Objective` for K trials of one problem, a seed a row."""

    def __init__(
        self,
        problem: Problem,
        data: DeviceData,
        seeds: Sequence[int],
        account: Account,
    ) -> None:
        self._passes = problem.passes()
        self._problem, self._data, self._account = problem, data, account
        self.batches = Batches(data, seeds)
        self._gradient: Tensor | None = None

    @property
    def capturable(self) -> bool:
        """Whether what this objective computes can be captured in a CUDA graph."""
        return captures(self._data.train.inputs.device) and self._passes.capturable

    def of(self, seeds: Sequence[int]) -> BoundObjective:
        """Return the objective of other rows, whose batches go on from here."""
        other = BoundObjective(self._problem, self._data, seeds, self._account)
        other.batches = self.batches.of(seeds)
        return other

    def next_batch(self, size: int | Full, stream: Stream = "gradient") -> Cases:
        """Take the next `size` cases of a stream, or FULL, the whole training set."""
        if size is FULL:
            if self._data.draw is not None:
                raise UsageError(
                    f"{self._problem.name} draws its training cases anew, so there is no whole "
                    "training set; give the method a batch size, as in batch=1000."
                )
            return self._data.train
        assert isinstance(size, int)
        return Cases(*self.batches.next(size, stream))

    def loss(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, " K"]:
        """Return f(θ) of every row, in float64."""
        assert isinstance(on, Cases)
        self._account.charge(self._passes.prices.loss * on.cases)
        value = theta.new_zeros(theta.shape[0], dtype=torch.float64)
        for part, share in on.slices(SLICE):
            value.add_(self._passes.loss(theta, part.inputs, part.targets), alpha=share)
        return value

    def gradient(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"]]:
        """Return f(θ) and ∇f(θ); the gradient's memory is reused by the next call."""
        assert isinstance(on, Cases)
        self._account.charge(self._passes.prices.gradient * on.cases, examples=on.cases)
        if self._gradient is None:
            self._gradient = torch.zeros_like(theta)
        if on.cases <= SLICE:
            loss = self._passes.gradient(theta, on.inputs, on.targets, self._gradient)
            return loss, self._gradient
        value = theta.new_zeros(theta.shape[0], dtype=torch.float64)
        self._gradient.zero_()
        some = torch.zeros_like(theta)
        for part, share in on.slices(SLICE):
            loss = self._passes.gradient(theta, part.inputs, part.targets, some)
            value.add_(loss, alpha=share)
            self._gradient.add_(some, alpha=share)
        return value, self._gradient

    def squared_gradient(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, "K P"]:
        """Return the mean over cases of the squared per-case gradient; a new tensor."""
        assert isinstance(on, Cases)
        self._account.charge(self._passes.prices.squared_gradient * on.cases)
        value = torch.zeros_like(theta)
        for part, share in on.slices(SLICE):
            some = self._passes.squared_gradient(theta, part.inputs, part.targets)
            value.add_(some, alpha=share)
        return value

    def curvature(
        self, theta: Float[Tensor, "K P"], on: Batch, structural: float | None = None
    ) -> Curvature:
        """Return v ↦ G v, linearised here once; each product is charged when it is made."""
        assert isinstance(on, Cases)
        prices, cases = self._passes.prices, on.cases
        self._account.charge(prices.linearization * cases)
        try:
            parts = [
                (self._passes.curvature(theta, part.inputs, part.targets, structural), share)
                for part, share in on.slices(SLICE)
            ]
        except ValueError as error:
            if structural is None:
                raise
            raise UsageError(f"{error}.") from error

        def multiply(v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
            value = parts[0][0](v)
            if len(parts) > 1:
                value.mul_(parts[0][1])
            for part, share in parts[1:]:
                value.add_(part(v), alpha=share)
            return value

        made: Curvature = Replayed(multiply, theta) if self.capturable else multiply

        def product(v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
            self._account.charge(prices.product * cases, products=1)
            return made(v)

        return product


def initial_parameters(
    problem: Problem, seeds: list[int], device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "K P"]:
    """Return a row of initial parameters for each seed; methods under one seed start alike."""
    made = {seed: problem.initialize(generator(seed, "initialization")) for seed in set(seeds)}
    return torch.stack([made[seed] for seed in seeds]).to(dtype).to(device)


@torch.no_grad()
def evaluate(
    problem: Problem, theta: Float[Tensor, "K P"], cases: Cases
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Return metric and loss of every row over a whole set, in float64; nobody is charged."""
    passes = problem.passes()
    metric = theta.new_zeros(theta.shape[0], dtype=torch.float64)
    loss = torch.zeros_like(metric)
    for part, share in cases.slices(evaluated_at_once(theta.shape[0])):
        z = passes.logits(theta, part.inputs)
        metric.add_(
            problem.metric.per_case(z, part.targets).mean(1, dtype=torch.float64), alpha=share
        )
        loss.add_(problem.loss.per_case(z, part.targets).mean(1, dtype=torch.float64), alpha=share)
    return metric, loss


@torch.no_grad()
def observe(problem: Problem, theta: Float[Tensor, "K P"], cases: Cases) -> list[dict[str, float]]:
    """Return for every row what the problem shows of itself besides the metric, if finite."""
    views = problem.layout.views(theta)
    shown = problem.observe(views, cases.inputs[:, :OBSERVED])
    values = {name: value.tolist() for name, value in shown.items()}
    return [
        {name: value[row] for name, value in values.items() if math.isfinite(value[row])}
        for row in range(len(theta))
    ]
