"""A problem and its data bound into the objective that a method sees, with the ledger."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bench.harness.core.seeds import generator
from bench.harness.distributed.ranks import ALONE, Ranks
from bench.harness.training.batches import Batches
from bench.harness.training.cases import Cases, DeviceData
from bench.harness.training.chunks import SLICE, evaluated_at_once
from bench.harness.training.cuda_graph import Replayed, captures
from bench.harness.training.ledger import Account
from bench.models.problem import Problem
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import FULL, Batch, Curvature, Full, Pair, Stream, dots

OBSERVED = 100
"""Test cases on which a network is asked what it shows of itself."""


class BoundObjective:
    """`bench.optim.objective.Objective` for K trials of one problem, a seed a row.

    On several ranks each computes on its part of every batch, and what it returns is summed over
    all of them. Methods and the ledger see whole batches.
    """

    def __init__(
        self,
        problem: Problem,
        data: DeviceData,
        seeds: Sequence[int],
        account: Account,
        ranks: Ranks = ALONE,
    ) -> None:
        self._passes, self._ranks = problem.passes(), ranks
        self._problem, self._data, self._account = problem, data, account
        self.batches = Batches(data, seeds)
        self._gradient: Tensor | None = None

    @property
    def capturable(self) -> bool:
        """Whether what this objective computes can be captured in a CUDA graph."""
        # What waits for another rank cannot.
        alone = self._ranks.size == 1
        return alone and captures(self._data.train.inputs.device) and self._passes.capturable

    def of(self, seeds: Sequence[int]) -> BoundObjective:
        """Return the objective of other rows, whose batches go on from here."""
        other = BoundObjective(self._problem, self._data, seeds, self._account, self._ranks)
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
            return self._data.train.part(self._ranks)
        assert isinstance(size, int)
        return Cases(*self.batches.next(size, stream)).part(self._ranks)

    def loss(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, " K"]:
        """Return f(θ) of every row, in float64."""
        assert isinstance(on, Cases)
        self._account.charge(self._passes.prices.loss * on.cases)
        value = theta.new_zeros(theta.shape[0], dtype=torch.float64)
        for part, share in on.slices(SLICE):
            value.add_(self._passes.loss(theta, part.inputs, part.targets), alpha=share)
        self._ranks.add_up(value)
        return value

    def gradient(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"]]:
        """Return f(θ) and ∇f(θ); the gradient's memory is reused by the next call."""
        assert isinstance(on, Cases)
        self._account.charge(self._passes.prices.gradient * on.cases, examples=on.cases)
        if self._gradient is None:
            self._gradient = torch.zeros_like(theta)
        value = self._sum_of_gradients(theta, list(on.slices(SLICE)), self._gradient)
        self._ranks.add_up(value, self._gradient)
        return value, self._gradient

    def _sum_of_gradients(
        self,
        theta: Float[Tensor, "K P"],
        slices: Sequence[tuple[Cases, float]],
        out: Float[Tensor, "K P"],
    ) -> Float[Tensor, " K"]:
        """Write the sum of share × gradient over slices, and return that of their losses."""
        if len(slices) == 1:
            ((part, share),) = slices
            loss = self._passes.gradient(theta, part.inputs, part.targets, out)
            if share == 1:
                return loss
            out.mul_(share)
            return loss * share
        value = theta.new_zeros(theta.shape[0], dtype=torch.float64)
        out.zero_()
        some = torch.zeros_like(theta) if slices else out
        for part, share in slices:
            loss = self._passes.gradient(theta, part.inputs, part.targets, some)
            value.add_(loss, alpha=share)
            out.add_(some, alpha=share)
        return value

    def squared_gradient(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, "K P"]:
        """Return the mean over cases of the squared per-case gradient; a new tensor."""
        assert isinstance(on, Cases)
        self._account.charge(self._passes.prices.squared_gradient * on.cases)
        value = torch.zeros_like(theta)
        for part, share in on.slices(SLICE):
            some = self._passes.squared_gradient(theta, part.inputs, part.targets)
            value.add_(some, alpha=share)
        self._ranks.add_up(value)
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

        # A rank without cases has nothing to multiply.
        nothing = None if parts else torch.zeros_like(theta)

        def multiply(v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
            if nothing is not None:
                value = nothing.zero_()
            else:
                first, share = parts[0]
                value = first(v) if share == 1 else first(v).mul_(share)
            for part, share in parts[1:]:
                value.add_(part(v), alpha=share)
            self._ranks.add_up(value)
            return value

        made: Curvature = Replayed(multiply, theta) if self.capturable else multiply

        def product(v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
            self._account.charge(prices.product * cases, products=1)
            return made(v)

        return product

    def dots(self, *pairs: Pair) -> tuple[Float[Tensor, ""], ...]:
        """Return a·b of every pair; each of several ranks adds up its share of the numbers."""
        if self._ranks.size == 1:
            return dots(*pairs)
        mine = self._ranks.part(pairs[0][0].numel())
        together = torch.stack(dots(*((a.view(-1)[mine], b.view(-1)[mine]) for a, b in pairs)))
        self._ranks.add_up(together)
        return together.unbind()


def initial_parameters(
    problem: Problem, seeds: list[int], device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "K P"]:
    """Return a row of initial parameters for each seed; methods under one seed start alike."""
    made = {seed: problem.initialize(generator(seed, "initialization")) for seed in set(seeds)}
    return torch.stack([made[seed] for seed in seeds]).to(dtype).to(device)


@torch.no_grad()
def evaluate(
    problem: Problem, theta: Float[Tensor, "K P"], cases: Cases, ranks: Ranks = ALONE
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Return metric and loss of every row over a whole set, in float64; nobody is charged.

    Each of several ranks evaluates its part of the set.
    """
    passes = problem.passes()
    metric = theta.new_zeros(theta.shape[0], dtype=torch.float64)
    loss = torch.zeros_like(metric)
    for part, share in cases.part(ranks).slices(evaluated_at_once(theta.shape[0])):
        z = passes.logits(theta, part.inputs)
        metric.add_(
            problem.metric.per_case(z, part.targets).mean(1, dtype=torch.float64), alpha=share
        )
        loss.add_(problem.loss.per_case(z, part.targets).mean(1, dtype=torch.float64), alpha=share)
    ranks.add_up(metric, loss)
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
