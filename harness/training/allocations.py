"""What a computation allocates, operation by operation, and how it grows with its cases."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

FEW = (3, 5)
"""Cases on which a computation is tried; a single case may be spared copies that others need."""
ROWS = 2
"""Rows on which it is tried, for the same reason."""

T = TypeVar("T")
aten = torch.ops.aten
IN_PLACE = {aten.addmm_: aten.addmm, aten.baddbmm_: aten.baddbmm}
"""Products that torch's own formulas do not name."""


class Allocations(TorchDispatchMode):
    """Notes after every operation how many bytes are alive of those allocated since it began.

    Tensors count from the operation that makes them to their end, on whatever device; what a
    kernel takes and gives back while it runs does not.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say no: nothing here is compiled, and importing the compiler takes a second."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.history: list[int] = []
        self.operations = 0
        """Floating-point operations of products and convolutions, two to a multiply-add."""
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute, and take note."""
        kwargs = kwargs or {}
        for tensor in _tensors(args, kwargs):
            self._note(tensor, made_here=False)
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            self._note(tensor, made_here=True)
        self.history.append(self.held)
        packet = func._overloadpacket
        if formula := flop_registry.get(IN_PLACE.get(packet, packet)):
            self.operations += formula(*args, **kwargs, out_val=result)
        return result

    def _note(self, tensor: Tensor, made_here: bool) -> None:
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place in self._known:
            return
        size = storage.nbytes() if made_here else 0
        self.held += size

        def forget(_: object) -> None:
            del self._known[place]
            self.held -= size

        self._known[place] = weakref.ref(storage, forget)


def _tensors(*values: Any) -> Iterator[Tensor]:
    return (each for each in tree_leaves(values) if isinstance(each, Tensor))


@dataclass(frozen=True)
class Growth:
    """Bytes of a row at every moment of a computation, a + b·cases each."""

    fixed: np.ndarray
    per_case: np.ndarray
    operations: float
    """Floating-point operations of one case of a row."""

    def peak(self, cases: int) -> int:
        """Return the most that a row holds at once."""
        return int(max((self.fixed + self.per_case * cases).max(), 0))

    def kept(self, cases: int) -> int:
        """Return what a row still holds when the computation is done."""
        return int(self.fixed[-1] + self.per_case[-1] * cases)


def growth(compute: Callable[[T], object], some: Callable[[int], T]) -> Growth:
    """Return how memory grows of what is computed for ROWS rows on so many cases.

    It is tried on few: on many the operations are the same, and every tensor's size is affine in
    the cases. What `some` returns is there already; what `compute` returns counts as held in the
    end.
    """
    (few, _), (more, operations) = (_history(compute, some(cases)) for cases in FEW)
    if len(few) != len(more):
        # What is done depends on the number of cases; then only most and end can be compared.
        few, more = [max(few), few[-1]], [max(more), more[-1]]
    slope = (np.array(more) - np.array(few)) / (FEW[1] - FEW[0])
    fixed = np.array(few) - slope * FEW[0]
    return Growth(fixed / ROWS, slope / ROWS, operations / FEW[1] / ROWS)


def _history(compute: Callable[[T], object], given: T) -> tuple[list[int], int]:
    with Allocations() as seen:
        result = compute(given)
    history = [*seen.history, seen.held]
    del result
    return history, seen.operations
