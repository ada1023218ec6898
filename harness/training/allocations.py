"""Measures the memory that a computation allocates, and how it grows with the number of cases."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.models.prices import operations_of

SAMPLE_CASES = (3, 5)
"""Numbers of cases for the measurement. A single case may need fewer copies, so it is not used."""
SAMPLE_ROWS = 2
"""Number of rows for the measurement, more than one for the same reason."""

T = TypeVar("T")


class AllocationRecorder(TorchDispatchMode):
    """Records after every operation how many bytes of tensors are alive that it has seen allocated.

    A tensor counts from the operation that creates it until its memory is freed, on any device.
    Memory that a kernel takes and frees while it runs does not count.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: nothing here is compiled, and importing the compiler takes a second."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.live_bytes = 0
        self.history: list[int] = []
        self.operations = 0
        """Floating-point operations of products and convolutions; a multiply-add counts as two."""
        self._storages: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and record its tensors."""
        kwargs = kwargs or {}
        for tensor in _tensors(args, kwargs):
            self._record(tensor, is_new=False)
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            self._record(tensor, is_new=True)
        self.history.append(self.live_bytes)
        self.operations += operations_of(func, args, kwargs, result)
        return result

    def _record(self, tensor: Tensor, is_new: bool) -> None:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._storages:
            return
        size = storage.nbytes() if is_new else 0
        self.live_bytes += size

        def forget(_: object) -> None:
            del self._storages[address]
            self.live_bytes -= size

        self._storages[address] = weakref.ref(storage, forget)


def _tensors(*values: Any) -> Iterator[Tensor]:
    return (each for each in tree_leaves(values) if isinstance(each, Tensor))


@dataclass(frozen=True)
class MemoryGrowth:
    """Bytes of one row after every operation of a computation: fixed + per_case · cases."""

    fixed: np.ndarray
    per_case: np.ndarray
    operations: float
    """Floating-point operations for one case of one row."""

    def peak(self, cases: int) -> int:
        """Return the largest number of bytes that a row needs at any time."""
        return int(max((self.fixed + self.per_case * cases).max(), 0))

    def bytes_at_end(self, cases: int) -> int:
        """Return the bytes that a row still needs after the computation."""
        return int(self.fixed[-1] + self.per_case[-1] * cases)


def measure_growth(compute: Callable[[T], object], inputs: Callable[[int], T]) -> MemoryGrowth:
    """Measure how the memory of a computation grows with the number of cases.

    `inputs(cases)` returns the inputs of `compute` for SAMPLE_ROWS rows; their memory does not
    count. The result of `compute` counts in `bytes_at_end`. A few cases are enough: with more cases
    the operations are the same, and the size of every tensor is affine in the number of cases.
    """
    (few, _), (more, operations) = (_history(compute, inputs(cases)) for cases in SAMPLE_CASES)
    if len(few) != len(more):
        # The operations depend on the number of cases, so only peak and end can be compared.
        few, more = [max(few), few[-1]], [max(more), more[-1]]
    slope = (np.array(more) - np.array(few)) / (SAMPLE_CASES[1] - SAMPLE_CASES[0])
    fixed = np.array(few) - slope * SAMPLE_CASES[0]
    return MemoryGrowth(
        fixed / SAMPLE_ROWS, slope / SAMPLE_ROWS, operations / SAMPLE_CASES[1] / SAMPLE_ROWS
    )


def _history(compute: Callable[[T], object], inputs: T) -> tuple[list[int], int]:
    with AllocationRecorder() as recorder:
        result = compute(inputs)
    history = [*recorder.history, recorder.live_bytes]
    del result
    return history, recorder.operations
