"""The prices of passes that nobody has counted by hand: their operations on a few cases."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.models.autodiff import AutodiffPasses
from bench.models.passes import PASSES, Passes, Prices
from bench.models.problem import Problem, in_precision

COUNTED_CASES = 2
"""Every case costs the same, so a few tell the price."""
UNCOUNTED = {
    "loss": 1 / 3,
    "squared_gradient": 1.0,
    "linearization": 1 / 3,
    "product": 4 / 3,
    "hessian": 1.0,
    "hessian_product": 2.0,
}
"""Prices of a network without products or convolutions: a forward pass is 1/3 of a gradient, a
Gauss–Newton product takes two forwards and two backwards, and a Hessian product two gradients."""

aten = torch.ops.aten
_IN_PLACE = {aten.addmm_: aten.addmm, aten.baddbmm_: aten.baddbmm}
"""In-place products, whose operations torch's formulas do not count, and their counterparts."""


def operations_of(function: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Return the floating-point operations of one call: of products and convolutions alone.

    A multiply-add counts as two. The formulas are those of `torch.utils.flop_counter`.
    """
    packet = function._overloadpacket
    formula = flop_registry.get(_IN_PLACE.get(packet, packet))
    return int(formula(*args, **kwargs, out_val=result)) if formula else 0


class OperationCounter(TorchDispatchMode):
    """Counts the floating-point operations of everything that runs inside."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: nothing here is compiled, and importing the compiler takes a second."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and count it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.operations += operations_of(func, args, kwargs, result)
        return result


def count(compute: Callable[[], object]) -> int:
    """Return the floating-point operations of a computation."""
    with OperationCounter() as counter:
        compute()
    operations: int = counter.operations
    return operations


class CountedPrices:
    """The operations of each pass, in those of a gradient, each counted when it is first asked for.

    They are counted in float64 on the CPU, whatever the trial runs in: so that a price, and with it
    the number of updates that a budget pays for, is the same on every machine.
    """

    def __init__(self, problem: Problem, inputs: Tensor, targets: Tensor) -> None:
        self._problem = problem
        self._cases = [
            in_precision(each[:1, :COUNTED_CASES].cpu(), torch.float64)
            for each in (inputs, targets)
        ]

    gradient = 1.0

    @cached_property
    def loss(self) -> float:
        """A forward pass."""
        return self._price("loss", lambda passes, theta, x, t: passes.loss(theta, x, t))

    @cached_property
    def squared_gradient(self) -> float:
        """The squares of per-case gradients."""
        return self._price(
            "squared_gradient", lambda passes, theta, x, t: passes.squared_gradient(theta, x, t)
        )

    @cached_property
    def linearization(self) -> float:
        """What comes before the first Gauss–Newton product."""
        return self._price(
            "linearization", lambda passes, theta, x, t: passes.curvature(theta, x, t)
        )

    @cached_property
    def product(self) -> float:
        """A Gauss–Newton product, without its linearisation."""

        def compute(passes: Passes, theta: Tensor, x: Tensor, t: Tensor) -> int:
            product, v = passes.curvature(theta, x, t), torch.ones_like(theta)
            return count(lambda: product(v))

        return self._ratio("product", self._run(compute))

    @cached_property
    def hessian(self) -> float:
        """What comes before the first Hessian product, loss and gradient among it."""
        return self._price("hessian", lambda _, *on: self._twice(*on))

    @cached_property
    def hessian_product(self) -> float:
        """A Hessian product, without what comes before it."""

        def compute(_: Passes, theta: Tensor, x: Tensor, t: Tensor) -> int:
            product, v = self._twice(theta, x, t), torch.ones_like(theta)
            return count(lambda: product(v))

        return self._ratio("hessian_product", self._run(compute))

    def _twice(self, theta: Tensor, x: Tensor, t: Tensor) -> Callable[[Tensor], Tensor]:
        return AutodiffPasses(self._problem).hessian(theta, x, t, torch.zeros_like(theta))[1]

    @cached_property
    def _of_gradient(self) -> int:
        return self._counted(
            lambda passes, theta, x, t: passes.gradient(theta, x, t, torch.zeros_like(theta))
        )

    def _price(self, name: str, compute: Callable[..., object]) -> float:
        return self._ratio(name, self._counted(compute))

    def _ratio(self, name: str, operations: int) -> float:
        of_gradient = self._of_gradient
        return operations / of_gradient if operations and of_gradient else UNCOUNTED[name]

    def _counted(self, compute: Callable[..., object]) -> int:
        return self._run(lambda *given: count(lambda: compute(*given)))

    def _run(self, compute: Callable[..., int]) -> int:
        """Run a pass on the few cases, at an initial θ."""
        theta = self._problem.initialize(np.random.default_rng(0))[None].double()
        runs = PASSES.run
        try:
            with torch.no_grad():
                return compute(self._problem.passes(), theta, *self._cases)
        finally:
            # It is the ledger that asked.
            PASSES.run = runs


def prices_of(problem: Problem, passes: Passes, inputs: Tensor, targets: Tensor) -> Prices:
    """Return the prices of a problem's passes: those that it declares, else counted ones.

    Args:
        problem: the problem.
        passes: its passes.
        inputs: (1, cases, …), of which a few are used.
        targets: those of the inputs.
    """
    return passes.prices or CountedPrices(problem, inputs, targets)
