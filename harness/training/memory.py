"""How much memory a fleet of K rows needs: known before it is run, and said where it is not there.

Tensors are counted, not guessed. A method says how many of θ's size it holds; what the passes
hold is measured on a few cases of the problem itself and grows with cases and rows from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bench.harness.core.errors import Infrastructure
from bench.harness.core.seeds import generator
from bench.harness.training.allocations import ROWS, Growth, growth
from bench.harness.training.bound_objective import OBSERVED, evaluate, observe
from bench.harness.training.case_stream import BLOCK
from bench.harness.training.cases import Cases, DeviceData
from bench.harness.training.chunks import SLICE, evaluated_at_once
from bench.harness.training.free_memory import available
from bench.models.problem import Problem
from bench.optim.objective import FORESEEN, LINEARIZED, VECTORS, Method

PER_CASE = 2**24
"""Per-case gradients are made for as many cases at once as fit in so many values; what autograd
needs for it is three times that."""
PROCESS = 2**29
"""Bytes of a process that has loaded everything and trains nothing yet; measured, 454 MiB."""
KEPT = 3
"""Tensors of θ's size that a checkpoint takes for a while: a copy of the method's one, and both in
the bytes that are written."""
SIGNS = ("out of memory", "DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED")
"""What a RuntimeError of torch says where memory has run out."""


class Load(NamedTuple):
    """What of a method says how much memory a row of it needs."""

    vectors: int
    batch: int
    chunk: int
    """Cases that are linearised at once."""


class Memory:
    """What fleets on one problem need on the device where its data is, and what there is."""

    def __init__(self, problem: Problem, data: DeviceData) -> None:
        self.problem, self.device = problem, data.train.inputs.device
        self._data = data
        theta = self._theta()
        gradient = torch.zeros_like(theta)
        self._row = theta[0].nbytes

        def pass_back(on: Cases) -> object:
            passes = problem.passes()
            passes.gradient(theta, on.inputs, on.targets, gradient)
            return passes

        def look(on: Cases) -> None:
            evaluate(problem, theta, on)

        def see(on: Cases) -> None:
            observe(problem, theta, on)

        with torch.no_grad():
            self._gradient = growth(pass_back, self._own)
            self._evaluation = growth(look, self._shared)
            self._observation = growth(see, self._shared)
        self.limit = available(self.device)
        """Bytes that fleets may use besides the data; None where that is not known."""

    def operations(self, method: Method) -> float:
        """Return the floating-point operations of a row's gradient on one batch of a method."""
        return self._gradient.operations * self._batch(method)

    def rows(self, methods: Sequence[Method], wanted: int) -> int:
        """Return how many of the wanted rows fit; Infrastructure where not a single one does."""
        if self.limit is None:
            return wanted
        loads = self._loads(methods)
        for rows in range(wanted, 0, -1):
            if max(self._need(load, rows) for load in loads) <= self.limit:
                return rows
        raise Infrastructure(
            f"{self._what(methods)} needs {_size(self.need(methods, 1))} of memory for one trial "
            f"(K = 1), and {self._place} has {_size(self.limit)} for it, so it was not begun. "
            f"{self._remedy}"
        )

    def need(self, methods: Sequence[Method], rows: int) -> int:
        """Return the bytes that a fleet of K rows under these methods needs besides the data."""
        return max(self._need(load, rows) for load in self._loads(methods))

    def side_by_side(self, needs: Sequence[int]) -> int:
        """Return how many processes can train fleets of these needs at the same time; at least 1.

        Each has the data for itself, and what a process takes before it trains.
        """
        if self.limit is None:
            return max(1, len(needs))
        each = PROCESS + self._data_bytes
        together = accumulate(need + each for need in sorted(needs, reverse=True))
        return max(1, sum(taken <= self.limit for taken in together))

    def ran_out(self, methods: Sequence[Method], rows: int) -> Infrastructure:
        """Return what is to be said where memory ran out although all was counted."""
        limit = "an unknown amount" if self.limit is None else _size(self.limit)
        return Infrastructure(
            f"Memory ran out while {self._what(methods)} trained as a fleet of K = {rows}: it "
            f"needs {_size(self.need(methods, rows))}, and {self._place} had {limit} for it when "
            "it was planned. What was measured is recorded; the same command trains what is "
            "missing, in fleets for the memory that is free then, and --timed takes one trial at a "
            "time. "
            f"{self._remedy}"
        )

    def _need(self, load: Load, rows: int) -> int:
        theta = rows * self._row
        held = theta * load.vectors + rows * self._held(load)
        step = rows * self._in_a_step(load)
        cases = max(self._data.train.cases, self._data.test.cases)
        # What is measured may be something else than what is trained.
        between = theta + max(
            rows * self._evaluation.peak(min(evaluated_at_once(rows), cases)),
            rows * self._observation.peak(min(OBSERVED, self._data.test.cases)),
            theta,  # Every row's outcome, in the end.
        )
        if self.device.type == "cpu":
            # A checkpoint is made in memory: what is to be kept of θ and of the method, once more.
            between = max(between, KEPT * theta)
        if self.device.type == "cuda":
            # What a captured step takes for a while stays its own.
            return held + step + max(step, between)
        # Initial parameters are drawn and stacked in float64.
        start = theta + rows * 2 * self.problem.layout.size * 8
        return max(held + max(step, between), start)

    def _held(self, load: Load) -> int:
        """Return the bytes of a row that stay from step to step, θ-sized tensors aside."""
        sizes = {*_slices(load.batch), *_slices(load.chunk)}
        held = sum(self._gradient.kept(size) for size in sizes)
        if self._data.draw is None:
            return held
        if self.device.type == "cuda":
            return held + FORESEEN * load.batch * self._case
        blocks = (load.batch - 1) // BLOCK + 1 + (BLOCK % load.batch > 0)
        return held + 2 * blocks * BLOCK * self._case

    def _in_a_step(self, load: Load) -> int:
        """Return the bytes of a row that a step takes for a while."""
        gathered = (load.batch + load.chunk) * self._case
        gradient = max(_passing(self._gradient, size) for size in _slices(load.batch))
        if load.batch > SLICE:
            gradient += self._row
        if not load.chunk:
            return gathered + gradient
        value = self._row // self.problem.layout.size
        per_case = gradient + 3 * min(PER_CASE * value, load.batch * self._row)
        linearized = sum(self._curvature.kept(size) for size in _every_slice(load.chunk))
        product = max(_passing(self._curvature, size) for size in _slices(load.chunk))
        # On a GPU a product has a vector of its own that it is made from.
        after = linearized + self._row + max(gradient, product)
        return gathered + max(per_case, after)

    def _loads(self, methods: Sequence[Method]) -> set[Load]:
        return {self._load(method) for method in methods}

    def _load(self, method: Method) -> Load:
        # The loop keeps θ as it was before a step that may turn out too dear.
        vectors = getattr(method, "vectors", VECTORS) + (method.cost_of_a_step is None)
        batch = self._batch(method)
        chunk = math.ceil(batch * getattr(method, "linearized", LINEARIZED))
        return Load(vectors, batch, chunk)

    def _batch(self, method: Method) -> int:
        return method.hyperparameters.get("batch") or self._data.train.cases

    @property
    def _data_bytes(self) -> int:
        sets = (self._data.train, self._data.test)
        return sum(each.nbytes for part in sets for each in {part.inputs, part.targets})

    @property
    def _case(self) -> int:
        """Bytes of a case; targets that are the inputs count once."""
        train = self._data.train
        targets = 0 if train.targets is train.inputs else train.targets[0, 0].nbytes
        return train.inputs[0, 0].nbytes + targets

    @cached_property
    def _curvature(self) -> Growth:
        theta = self._theta()
        v = torch.zeros_like(theta)

        def linearize(on: Cases) -> object:
            product = self.problem.passes().curvature(theta, on.inputs, on.targets)
            product(v)
            return product

        with torch.no_grad():
            return growth(linearize, self._own)

    def _theta(self) -> Float[Tensor, "K P"]:
        start = self.problem.initialize(generator(0, "initialization"))
        return start.to(self._data.train.inputs).repeat(ROWS, 1)

    def _shared(self, cases: int) -> Cases:
        """Return some training cases that all rows see."""
        train = self._data.train
        numbers = torch.arange(cases, device=self.device) % train.cases
        inputs = train.inputs[:, numbers]
        return Cases(inputs, inputs if train.targets is train.inputs else train.targets[:, numbers])

    def _own(self, cases: int) -> Cases:
        """Return as many cases for each row."""
        shared = self._shared(cases)
        inputs = torch.cat([shared.inputs] * ROWS)
        same = shared.targets is shared.inputs
        return Cases(inputs, inputs if same else torch.cat([shared.targets] * ROWS))

    def _what(self, methods: Sequence[Method]) -> str:
        names = ", ".join(dict.fromkeys(method.name for method in methods))
        return f"{names} on {self.problem.name} / {self.problem.preset}"

    @property
    def _place(self) -> str:
        return "the GPU" if self.device.type == "cuda" else "this machine"

    @property
    def _remedy(self) -> str:
        cpu = ", --device cpu has memory of its own" if self.device.type == "cuda" else ""
        return f"A smaller batch or preset needs less{cpu}, and other programs may be ended."


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out."""
    told = isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)
    return told or isinstance(error, MemoryError | torch.OutOfMemoryError)


def _every_slice(cases: int) -> list[int]:
    """Return the sizes of the slices in which so many cases are computed."""
    full, rest = divmod(cases, SLICE)
    return [SLICE] * full + [rest] * (rest > 0)


def _slices(cases: int) -> set[int]:
    return set(_every_slice(cases))


def _passing(of: Growth, cases: int) -> int:
    """Return the bytes that are given back when the computation is done."""
    return of.peak(cases) - of.kept(cases)


def _size(count: int) -> str:
    for unit, bytes_ in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= bytes_:
            return f"{count / bytes_:.2f} {unit}"
    return f"{count / 2**10:.0f} KiB"
