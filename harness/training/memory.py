"""A model of the memory that a fleet of K rows needs, so that a fleet that does not fit is refused.

A method states how many tensors of θ's size it holds. The memory of the passes is measured on a
few cases of the problem, and grows linearly with cases and rows.
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
from bench.harness.training.allocations import SAMPLE_ROWS, MemoryGrowth, measure_growth
from bench.harness.training.bound_objective import OBSERVED_CASES, evaluate, observe
from bench.harness.training.case_stream import BLOCK
from bench.harness.training.cases import Cases, DeviceData
from bench.harness.training.chunks import SLICE_CASES, evaluation_slice
from bench.harness.training.free_memory import free_memory
from bench.harness.training.method_layout import for_layout
from bench.models.autodiff import AutodiffPasses
from bench.models.problem import Problem
from bench.optim.objective import FORESEEN, LINEARIZED, VECTORS, Method

PER_CASE_VALUES = 2**24
"""Limit on the values of per-case gradients that are computed at once. Autograd needs three times
their memory."""
PROCESS_BYTES = 2**29
"""Bytes of a process that has imported everything and does not train yet; measured: 454 MiB."""
CHECKPOINT_COPIES = 3
"""Tensors of θ's size that writing a checkpoint needs: a copy of the method's tensor, and both
tensors in the serialized bytes."""
OUT_OF_MEMORY_TEXTS = ("out of memory", "DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED")
"""Texts in the RuntimeErrors that torch raises when memory runs out."""


class MethodDemand(NamedTuple):
    """The properties of a method that decide how much memory a row needs."""

    vectors: int
    """Tensors of θ's size."""
    batch: int
    """Cases of a batch."""
    chunk: int
    """Cases that are linearised at once; 0 without curvature products."""
    twice: int
    """Cases whose gradient is differentiated again at once; 0 without Hessian products."""


class MemoryModel:
    """The memory that fleets on one problem need, and the free memory of the device of its data."""

    def __init__(self, problem: Problem, data: DeviceData) -> None:
        self.problem, self.device = problem, data.train.inputs.device
        self._data = data
        theta = self._theta()
        gradient = torch.zeros_like(theta)
        self._row_bytes = theta[0].nbytes

        def compute_gradient(on: Cases) -> object:
            passes = problem.passes()
            passes.gradient(theta, on.inputs, on.targets, gradient)
            return passes

        def compute_metric(on: Cases) -> None:
            evaluate(problem, theta, on)

        def compute_diagnostics(on: Cases) -> None:
            observe(problem, theta, on)

        with torch.no_grad():
            self._gradient = measure_growth(compute_gradient, self._separate_cases)
            self._evaluation = measure_growth(compute_metric, self._shared_cases)
            self._observation = measure_growth(compute_diagnostics, self._shared_cases)
        self.limit = free_memory(self.device)
        """Bytes that fleets may use besides the data; None if the system does not say."""

    def operations(self, method: Method) -> float:
        """Return the floating-point operations of one row's gradient on one batch of a method."""
        return self._gradient.operations * self._batch(method)

    def rows_that_fit(self, methods: Sequence[Method], wanted: int) -> int:
        """Return how many of the wanted rows fit; raises Infrastructure if not even one does."""
        if self.limit is None:
            return wanted
        demands = self._demands(methods)
        for rows in range(wanted, 0, -1):
            if max(self._fleet_bytes(demand, rows) for demand in demands) <= self.limit:
                return rows
        needed = _size_text(self.bytes_needed(methods, 1))
        raise Infrastructure(
            f"{self._methods_text(methods)} needs {needed} of memory for one trial (K = 1), but "
            f"{self._device_text} has {_size_text(self.limit)} for it, so nothing was started. "
            f"{self._remedy}"
        )

    def bytes_needed(self, methods: Sequence[Method], rows: int) -> int:
        """Return the bytes that a fleet of K rows with these methods needs besides the data."""
        return max(self._fleet_bytes(demand, rows) for demand in self._demands(methods))

    def processes_that_fit(self, needs: Sequence[int]) -> int:
        """Return how many processes can train such fleets at the same time, at least 1.

        `needs` has the bytes of each fleet. Every process also needs its own copy of the data and
        PROCESS_BYTES.
        """
        if self.limit is None:
            return max(1, len(needs))
        each = PROCESS_BYTES + self._data_bytes
        totals = accumulate(need + each for need in sorted(needs, reverse=True))
        return max(1, sum(total <= self.limit for total in totals))

    def out_of_memory_error(self, methods: Sequence[Method], rows: int) -> Infrastructure:
        """Return the error for memory that ran out although the model predicted enough."""
        limit = "an unknown amount" if self.limit is None else _size_text(self.limit)
        needed = _size_text(self.bytes_needed(methods, rows))
        return Infrastructure(
            f"Memory ran out while {self._methods_text(methods)} trained as a fleet of "
            f"K = {rows}: it needs {needed}, and {self._device_text} had {limit} for it when it "
            "was planned. All results up to now are kept. Run the same command again: it trains "
            "what is missing, in fleets that fit the memory that is free then. With --timed it "
            f"trains one trial at a time. {self._remedy}"
        )

    def _fleet_bytes(self, demand: MethodDemand, rows: int) -> int:
        theta = rows * self._row_bytes
        held = theta * demand.vectors + rows * self._held_bytes(demand)
        step = rows * self._step_bytes(demand)
        cases = max(self._data.train.cases, self._data.test.cases)
        # A method may evaluate another iterate than the θ that it trains.
        between = theta + max(
            rows * self._evaluation.peak(min(evaluation_slice(rows), cases)),
            rows * self._observation.peak(min(OBSERVED_CASES, self._data.test.cases)),
            theta,  # The outcomes of all rows at the end.
        )
        if self.device.type == "cpu":
            # A checkpoint is serialized in memory.
            between = max(between, CHECKPOINT_COPIES * theta)
        if self.device.type == "cuda":
            # A captured graph keeps the memory of its step.
            return held + step + max(step, between)
        # Initial parameters are drawn and stacked in float64.
        start = theta + rows * 2 * self.problem.layout.size * 8
        return max(held + max(step, between), start)

    def _held_bytes(self, demand: MethodDemand) -> int:
        """Return the bytes of a row that stay from step to step, without tensors of θ's size."""
        sizes = {*_slices(demand.batch), *_slices(demand.chunk)}
        held = sum(self._gradient.bytes_at_end(size) for size in sizes)
        if self._data.draw is None:
            return held
        if self.device.type == "cuda":
            return held + FORESEEN * demand.batch * self._case_bytes
        blocks = (demand.batch - 1) // BLOCK + 1 + (BLOCK % demand.batch > 0)
        return held + 2 * blocks * BLOCK * self._case_bytes

    def _step_bytes(self, demand: MethodDemand) -> int:
        """Return the bytes of a row that a step needs only while it runs."""
        gathered = (demand.batch + demand.chunk) * self._case_bytes
        gradient = max(_transient_bytes(self._gradient, size) for size in _slices(demand.batch))
        if demand.batch > SLICE_CASES:
            gradient += self._row_bytes
        if demand.twice:
            graph = sum(self._hessian.bytes_at_end(size) for size in _every_slice(demand.twice))
            again = max(_transient_bytes(self._hessian, size) for size in _slices(demand.twice))
            gradient = max(gradient, graph + self._row_bytes + again)
        if not demand.chunk:
            return gathered + gradient
        value = self._row_bytes // self.problem.layout.size
        per_case = gradient + 3 * min(PER_CASE_VALUES * value, demand.batch * self._row_bytes)
        linearized = sum(self._curvature.bytes_at_end(size) for size in _every_slice(demand.chunk))
        product = max(_transient_bytes(self._curvature, size) for size in _slices(demand.chunk))
        # On a GPU a replayed product reads a copy of its vector.
        after = linearized + self._row_bytes + max(gradient, product)
        return gathered + max(per_case, after)

    def _demands(self, methods: Sequence[Method]) -> set[MethodDemand]:
        return {self._demand(method) for method in methods}

    def _demand(self, method: Method) -> MethodDemand:
        method = for_layout(method, self.problem.layout)
        # The loop keeps a copy of θ if the budget may not pay for the next step.
        vectors = getattr(method, "vectors", VECTORS) + (method.cost_of_a_step is None)
        batch = self._batch(method)
        chunk = math.ceil(batch * getattr(method, "linearized", LINEARIZED))
        twice = math.ceil(batch * getattr(method, "hessian_part", 0.0))
        return MethodDemand(vectors, batch, chunk, twice)

    def _batch(self, method: Method) -> int:
        return method.hyperparameters.get("batch") or self._data.train.cases

    @property
    def _data_bytes(self) -> int:
        sets = (self._data.train, self._data.test)
        return sum(each.nbytes for part in sets for each in {part.inputs, part.targets})

    @property
    def _case_bytes(self) -> int:
        """Bytes of a case; targets that share the inputs' memory do not count."""
        train = self._data.train
        targets = 0 if train.targets is train.inputs else train.targets[0, 0].nbytes
        return train.inputs[0, 0].nbytes + targets

    @cached_property
    def _curvature(self) -> MemoryGrowth:
        theta = self._theta()
        v = torch.zeros_like(theta)

        def linearize(on: Cases) -> object:
            product = self.problem.passes().curvature(theta, on.inputs, on.targets)
            product(v)
            return product

        with torch.no_grad():
            return measure_growth(linearize, self._separate_cases)

    @cached_property
    def _hessian(self) -> MemoryGrowth:
        theta = self._theta()
        out, v = torch.zeros_like(theta), torch.zeros_like(theta)

        def differentiate(on: Cases) -> object:
            _, product = AutodiffPasses(self.problem).hessian(theta, on.inputs, on.targets, out)
            product(v)
            return product

        with torch.no_grad():
            return measure_growth(differentiate, self._separate_cases)

    def _theta(self) -> Float[Tensor, "K P"]:
        start = self.problem.initialize(generator(0, "initialization"))
        return start.to(self._data.train.targets).repeat(SAMPLE_ROWS, 1)

    def _shared_cases(self, cases: int) -> Cases:
        """Return so many training cases that all rows share."""
        train = self._data.train
        numbers = torch.arange(cases, device=self.device) % train.cases
        inputs = train.inputs[:, numbers]
        return Cases(inputs, inputs if train.targets is train.inputs else train.targets[:, numbers])

    def _separate_cases(self, cases: int) -> Cases:
        """Return so many training cases for each row, in separate memory."""
        shared = self._shared_cases(cases)
        inputs = torch.cat([shared.inputs] * SAMPLE_ROWS)
        same = shared.targets is shared.inputs
        return Cases(inputs, inputs if same else torch.cat([shared.targets] * SAMPLE_ROWS))

    def _methods_text(self, methods: Sequence[Method]) -> str:
        names = ", ".join(dict.fromkeys(method.name for method in methods))
        return f"{names} on {self.problem.name} / {self.problem.preset}"

    @property
    def _device_text(self) -> str:
        return "the GPU" if self.device.type == "cuda" else "this machine"

    @property
    def _remedy(self) -> str:
        cpu = ", use --device cpu" if self.device.type == "cuda" else ""
        return f"Choose a smaller batch or preset{cpu}, or close other programs."


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out."""
    told = isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in OUT_OF_MEMORY_TEXTS
    )
    return told or isinstance(error, MemoryError | torch.OutOfMemoryError)


def _every_slice(cases: int) -> list[int]:
    """Return the sizes of all slices in which so many cases are computed."""
    full, rest = divmod(cases, SLICE_CASES)
    return [SLICE_CASES] * full + [rest] * (rest > 0)


def _slices(cases: int) -> set[int]:
    return set(_every_slice(cases))


def _transient_bytes(of: MemoryGrowth, cases: int) -> int:
    """Return the bytes that are free again after the computation."""
    return of.peak(cases) - of.bytes_at_end(cases)


def _size_text(count: int) -> str:
    for unit, bytes_ in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= bytes_:
            return f"{count / bytes_:.2f} {unit}"
    return f"{count / 2**10:.0f} KiB"
