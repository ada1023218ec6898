"""The objective that a method sees: a problem with its data, whose costs go to the ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.harness.core.errors import BrokenContract
from bench.harness.core.seeds import generator
from bench.harness.distributed.ranks import SINGLE_PROCESS, Ranks
from bench.harness.training.batches import Batches
from bench.harness.training.cases import Cases, DeviceData
from bench.harness.training.chunks import SLICE_CASES, evaluation_slice
from bench.harness.training.cuda_graph import ReplayedFunction, can_capture
from bench.harness.training.ledger import Account
from bench.harness.training.method_objective import MethodObjective, TrainingBatch, opaque
from bench.harness.training.method_watch import MethodWatch
from bench.models.autodiff import AutodiffPasses
from bench.models.prices import prices_of
from bench.models.problem import Problem
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import FULL, Batch, Curvature, Full, Pair, Stream, dots

PLAIN = (Tensor, nn.Parameter)
STREAMS = get_args(Stream)
OBSERVED_CASES = 100
"""Number of test cases for the diagnostics of a network (`Problem.observe`)."""


class BoundObjective:
    """`bench.optim.objective.Objective` for K trials of one problem, with one seed for each row.

    A method gets `for_method` in its place, which leads to no tensor of the data. With several
    ranks, each rank computes on its part of every batch, and all results are summed over the ranks.
    Methods and the ledger see whole batches. `method` is named in messages.
    """

    def __init__(
        self,
        problem: Problem,
        data: DeviceData,
        seeds: Sequence[int],
        account: Account,
        ranks: Ranks = SINGLE_PROCESS,
        method: str = "The method",
    ) -> None:
        self._passes, self._ranks = problem.passes(), ranks
        self._twice = AutodiffPasses(problem)
        self._problem, self._data, self._account = problem, data, account
        self._prices = prices_of(problem, self._passes, data.train.inputs, data.train.targets)
        self._shape = torch.Size((len(seeds), problem.layout.size))
        self._dtype = data.dtype
        self.batches = Batches(data, seeds)
        self.watch = MethodWatch(method)
        self.whole: TrainingBatch | None = None
        """The batch of the whole training set, if a method has asked for it."""
        self.for_method: MethodObjective = opaque(self)
        self._gradient: Tensor | None = None

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph can capture what this objective computes."""
        # A graph cannot wait for another rank.
        alone = self._ranks.size == 1
        return alone and can_capture(self._data.train.inputs.device) and self._passes.capturable

    def for_seeds(self, seeds: Sequence[int]) -> BoundObjective:
        """Return the objective of other rows, with batches from the present position on."""
        other = BoundObjective(
            self._problem, self._data, seeds, self._account, self._ranks, self.watch.method
        )
        other.batches = self.batches.for_seeds(seeds)
        return other

    def vector(self, given: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
        """Return one tensor of θ's shape as plain numbers; raise BrokenContract for another.

        More rows, or rows under `torch.func.vmap`, would be several calls for the price of one, and
        a loss that autograd can differentiate would be a gradient for the price of a loss.
        """
        if type(given) not in PLAIN or given.shape != self._shape or given.dtype != self._dtype:
            found = type(given).__name__
            if isinstance(given, Tensor):
                found += f" of shape {tuple(given.shape)} and {given.dtype}"
            raise BrokenContract(
                f"{self.watch.method} gave the objective a {found}, but θ and vectors are plain "
                f"tensors of shape {tuple(self._shape)} and {self._dtype}. Ask once for each point."
            )
        try:
            given.data_ptr()
        except RuntimeError as error:
            raise BrokenContract(
                f"{self.watch.method} called the objective inside of a torch.func transform (vmap, "
                "grad, jvp), which would be several calls for the price of one. Ask once for each "
                "point."
            ) from error
        return given.detach() if given.requires_grad else given

    def next_batch(self, size: int | Full, stream: Stream = "gradient") -> Cases:
        """Return the next `size` cases of a stream; FULL means the whole training set.

        Raises UsageError for FULL if the problem has no fixed training set.
        """
        if stream not in STREAMS:
            raise BrokenContract(
                f"{self.watch.method} asked for a batch of the stream {stream!r}. The streams are: "
                f"{', '.join(STREAMS)}."
            )
        if size is FULL:
            if self._data.draw is not None:
                raise UsageError(
                    f"{self._problem.name} draws new training cases all the time, so it has no "
                    "whole training set; give the method a batch size, as in batch=1000."
                )
            return self._data.train.part(self._ranks)
        if type(size) is not int or size < 1:
            raise BrokenContract(
                f"{self.watch.method} asked for a batch of {size!r} cases. Ask for a whole number "
                "from 1 on, or for FULL."
            )
        return Cases(*self.batches.next(size, stream)).part(self._ranks)

    def loss(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, " K"]:
        """Return f(θ) of every row, in float64."""
        assert isinstance(on, Cases)
        self._account.charge(self._prices.loss * on.cases, examples=on.cases)
        value = theta.new_zeros(theta.shape[0], dtype=torch.float64)
        with self.watch:
            for part, share in on.slices(SLICE_CASES):
                value.add_(self._passes.loss(theta, part.inputs, part.targets), alpha=share)
        self._ranks.all_reduce(value)
        return value

    def gradient(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"]]:
        """Return f(θ) and ∇f(θ); the next call overwrites the gradient's memory."""
        assert isinstance(on, Cases)
        self._account.charge(self._prices.gradient * on.cases, examples=on.cases)
        gradient = self._gradient_memory(theta)
        with self.watch:
            value = self._sum_of_gradients(theta, list(on.slices(SLICE_CASES)), gradient)
        self._ranks.all_reduce(value, gradient)
        return value, gradient

    def gradient_parts(
        self, theta: Float[Tensor, "1 P"], on: Batch
    ) -> tuple[Float[Tensor, " 1"], list[Tensor]]:
        """Return f(θ) and ∇f(θ) of one row, a new tensor for each parameter."""
        assert isinstance(on, Cases)
        compute = getattr(self._passes, "gradient_parts", None)
        slices = list(on.slices(SLICE_CASES))
        if compute is None or self._ranks.size > 1 or len(slices) > 1:
            value, gradient = self.gradient(theta, on)
            views = self._problem.layout.parameters(gradient[0]).values()
            return value, [view.clone(memory_format=torch.contiguous_format) for view in views]
        self._account.charge(self._prices.gradient * on.cases, examples=on.cases)
        ((part, _),) = slices
        with self.watch:
            return compute(theta, part.inputs, part.targets)

    def _sum_of_gradients(
        self,
        theta: Float[Tensor, "K P"],
        slices: Sequence[tuple[Cases, float]],
        out: Float[Tensor, "K P"],
    ) -> Float[Tensor, " K"]:
        """Write Σ share · gradient over the slices to `out`; return the same sum of the losses."""
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
        """Return the mean over cases of the squared per-case gradient, as a new tensor."""
        assert isinstance(on, Cases)
        self._account.charge(self._prices.squared_gradient * on.cases, examples=on.cases)
        value = torch.zeros_like(theta)
        with self.watch:
            for part, share in on.slices(SLICE_CASES):
                some = self._passes.squared_gradient(theta, part.inputs, part.targets)
                value.add_(some, alpha=share)
        self._ranks.all_reduce(value)
        return value

    def curvature(
        self, theta: Float[Tensor, "K P"], on: Batch, structural: float | None = None
    ) -> Curvature:
        """Return v ↦ G v, linearised once at θ; each product is charged when it is computed.

        Raises UsageError if the problem does not support `structural`.
        """
        assert isinstance(on, Cases)
        prices, cases = self._prices, on.cases
        self._account.charge(prices.linearization * cases, examples=cases)
        try:
            with self.watch:
                parts = [
                    (self._passes.curvature(theta, part.inputs, part.targets, structural), share)
                    for part, share in on.slices(SLICE_CASES)
                ]
        except ValueError as error:
            if structural is None:
                raise
            raise UsageError(f"{error}.") from error

        multiply = self._sum_of_products(theta, parts)
        compute = ReplayedFunction(multiply, theta) if self.capturable else multiply
        return self._charged(compute, prices.product, cases)

    def hessian(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"], Curvature]:
        """Return f(θ), ∇f(θ) and v ↦ H v; each product is charged when it is computed.

        The next gradient overwrites the gradient's memory.
        """
        assert isinstance(on, Cases)
        prices, cases = self._prices, on.cases
        self._account.charge(prices.hessian * cases, examples=cases)
        value = theta.new_zeros(theta.shape[0], dtype=torch.float64)
        gradient, some = self._gradient_memory(theta).zero_(), torch.zeros_like(theta)
        parts: list[tuple[Callable[[Tensor], Tensor], float]] = []
        with self.watch:
            for part, share in on.slices(SLICE_CASES):
                loss, product = self._twice.hessian(theta, part.inputs, part.targets, some)
                value.add_(loss, alpha=share)
                gradient.add_(some, alpha=share)
                parts.append((product, share))
        self._ranks.all_reduce(value, gradient)
        multiply = self._sum_of_products(theta, parts)
        return value, gradient, self._charged(multiply, prices.hessian_product, cases)

    def _sum_of_products(
        self, theta: Float[Tensor, "K P"], parts: Sequence[tuple[Callable[[Tensor], Tensor], float]]
    ) -> Curvature:
        """Return v ↦ Σ share · product(v) over the slices of all ranks."""
        # A rank without cases contributes zeros.
        zeros = None if parts else torch.zeros_like(theta)

        def multiply(v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
            if zeros is not None:
                value = zeros.zero_()
            else:
                first, share = parts[0]
                value = first(v) if share == 1 else first(v).mul_(share)
            for part, share in parts[1:]:
                value.add_(part(v), alpha=share)
            self._ranks.all_reduce(value)
            return value

        return multiply

    def _charged(self, compute: Curvature, price: float, cases: int) -> Curvature:
        """Return a product that is charged each time before it is computed."""

        def product(v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
            self._account.charge(price * cases, examples=cases, products=1)
            with self.watch:
                return compute(v)

        return product

    def _gradient_memory(self, theta: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
        """Return the memory that every gradient is written into."""
        if self._gradient is None:
            self._gradient = torch.zeros_like(theta)
        return self._gradient

    @property
    def spent(self) -> float:
        """The share of the budget that is spent, the same on every rank."""
        budget, spent = self._account.budget, self._account.spent
        if budget.currency == "seconds":
            spent = self._ranks.broadcast(spent)
        return min(1.0, spent / budget.amount)

    def dots(self, *pairs: Pair) -> tuple[Float[Tensor, ""], ...]:
        """Return a·b of every pair; with several ranks, each sums its share of the numbers."""
        if self._ranks.size == 1:
            return dots(*pairs)
        mine = self._ranks.part(pairs[0][0].numel())
        together = torch.stack(dots(*((a.view(-1)[mine], b.view(-1)[mine]) for a, b in pairs)))
        self._ranks.all_reduce(together)
        return together.unbind()


def initial_parameters(
    problem: Problem, seeds: list[int], device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "K P"]:
    """Return a row of initial parameters for each seed; equal seeds have equal rows."""
    rows = {seed: problem.initialize(generator(seed, "initialization")) for seed in set(seeds)}
    return torch.stack([rows[seed] for seed in seeds]).to(dtype).to(device)


@torch.no_grad()
def evaluate(
    problem: Problem, theta: Float[Tensor, "K P"], cases: Cases, ranks: Ranks = SINGLE_PROCESS
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Return metric and loss of every row over a whole set, in float64, without a charge.

    With several ranks, each evaluates its part of the set.
    """
    passes = problem.passes()
    metric = theta.new_zeros(theta.shape[0], dtype=torch.float64)
    loss = torch.zeros_like(metric)
    for part, share in cases.part(ranks).slices(evaluation_slice(theta.shape[0])):
        z = passes.logits(theta, part.inputs)
        metric.add_(
            problem.metric.per_case(z, part.targets).mean(1, dtype=torch.float64), alpha=share
        )
        loss.add_(problem.loss.per_case(z, part.targets).mean(1, dtype=torch.float64), alpha=share)
    ranks.all_reduce(metric, loss)
    return metric, loss


@torch.no_grad()
def observe(problem: Problem, theta: Float[Tensor, "K P"], cases: Cases) -> list[dict[str, float]]:
    """Return the finite diagnostics of every row, as `Problem.observe` computes them."""
    views = problem.layout.views(theta)
    diagnostics = problem.observe(views, cases.inputs[:, :OBSERVED_CASES])
    values = {name: value.tolist() for name, value in diagnostics.items()}
    return [
        {name: value[row] for name, value in values.items() if math.isfinite(value[row])}
        for row in range(len(theta))
    ]
