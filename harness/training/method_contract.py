"""What a fleet holds a method to: costs, undone steps, and parts that may change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat

from jaxtyping import Float
from torch import Tensor

from bench.harness.core.errors import BrokenContract
from bench.harness.training.checksum import checksum
from bench.harness.training.ledger import ROUNDING, Account
from bench.harness.training.method_watch import MethodWatch
from bench.optim.objective import BudgetSpent, Method

DEPTH = 4
"""Objects within objects that a fingerprint looks into."""


class MethodContract:
    """The contract of `bench.optim.objective.Method`, held at every call of a method.

    Of a step that the budget cannot pay in full nothing stays: neither in θ nor in what is
    evaluated. A step may not cost more than the method declares. `init` may not move θ, and
    `iterate` may change neither θ nor the state. Raises BrokenContract where a method breaks it.
    """

    def __init__(self, account: Account, watch: MethodWatch) -> None:
        self.account, self.watch = account, watch
        self._last_examples: int | None = None
        """What the last step spent; None before the first."""
        self._before_cut: Tensor | None = None
        """What to evaluate where a step was undone: the parameters before it."""

    def init(
        self, method: Method, theta: Float[Tensor, "K P"], seed: int, updates: int | None
    ) -> Any:
        """Return the state before the first step."""
        before = fingerprint(theta)
        with self.watch.outside("init"):
            state = method.init(theta, seed, updates)
        if fingerprint(theta) != before:
            raise BrokenContract(
                f"`init` of {method.name} changes θ. All methods begin at the same parameters; "
                "move the change into `step`."
            )
        return state

    def step(
        self,
        method: Method,
        theta: Float[Tensor, "K P"],
        state: Any,
        update: Callable[[], None],
    ) -> bool:
        """Make one update; return False if the budget cannot pay for it, and undo it then."""
        kept = self._kept(method, theta, state)
        gradients, examples = self.account.gradients, self.account.examples
        try:
            update()
            # A method may have caught the exception.
            cut = self.account.refused
        except BudgetSpent:
            cut = True
        if cut:
            if kept is None or not self.account.refused:
                raise self._unexpected_cut(method)
            before, self._before_cut = kept
            theta.copy_(before)
            return False
        self.require_declared_cost(method, self.account.gradients - gradients, 1)
        self._last_examples = self.account.examples - examples
        return True

    def require_declared_cost(self, method: Method, spent: float, updates: int) -> None:
        """Raise BrokenContract if updates cost more than the method declares."""
        cost = method.cost_of_a_step
        if cost is not None and spent > cost * updates * (1 + ROUNDING):
            raise BrokenContract(
                f"A step of {method.name} costs {spent / updates:g} gradient-equivalents, but its "
                f"`cost_of_a_step` declares {cost:g}. Declare the true cost, or None if it varies."
            )

    def iterate(
        self, method: Method, theta: Float[Tensor, "K P"], state: Any
    ) -> Float[Tensor, "K P"]:
        """Return the parameters to evaluate."""
        if self._before_cut is not None:
            return self._before_cut
        before = fingerprint([theta, method.state_dict(state)])
        point: object = self._point(method, theta, state)
        if fingerprint([theta, method.state_dict(state)]) != before:
            raise BrokenContract(
                f"`iterate` of {method.name} changes θ or the state. It may only return the "
                "parameters to evaluate: how often a trial is evaluated must not change it. Move "
                "the change into `step`."
            )
        if not isinstance(point, Tensor) or point.shape != theta.shape:
            found = tuple(point.shape) if isinstance(point, Tensor) else type(point).__name__
            raise BrokenContract(
                f"`iterate` of {method.name} returned {found}; it must return a tensor of θ's "
                f"shape {tuple(theta.shape)}."
            )
        if (point.dtype, point.device, point.layout) != (theta.dtype, theta.device, theta.layout):
            raise BrokenContract(
                f"`iterate` of {method.name} returned a tensor of {point.dtype}, {point.layout}, "
                f"on {point.device}; it must be like θ, {theta.dtype}, {theta.layout}, on "
                f"{theta.device}."
            )
        return point

    def _point(self, method: Method, theta: Tensor, state: Any) -> Tensor:
        with self.watch.outside("iterate"):
            return method.iterate(theta, state)

    def _kept(self, method: Method, theta: Tensor, state: Any) -> tuple[Tensor, Tensor] | None:
        """Return copies of θ and of what is evaluated there, if the budget may cut the next step.

        A step of a fixed cost is not cut: no more of them are made than the budget pays for.
        """
        budget = self.account.budget
        if budget.currency in ("updates", "seconds"):
            return None
        if method.cost_of_a_step is not None:
            if budget.currency == "gradients":
                return None
            # A step may run more cases than it costs gradients.
            left = budget.amount - self.account.examples
            if self._last_examples is not None and 2 * self._last_examples <= left:
                return None
        kept = theta.clone()
        point = self._point(method, theta, state)
        return kept, kept if point is theta else point.clone()

    def _unexpected_cut(self, method: Method) -> BrokenContract:
        if not self.account.refused:
            return BrokenContract(
                f"A step of {method.name} ended with BudgetSpent although the budget was not "
                "spent. Only the objective may raise it."
            )
        return BrokenContract(
            f"A step of {method.name} costs more than the {method.cost_of_a_step:g} gradient-"
            "equivalents that its `cost_of_a_step` declares. Declare the true cost, or None if it "
            "varies."
        )


def check_report(method: Method, report: object, rows: int) -> None:
    """Raise BrokenContract for a report of `step` that is none; else do nothing."""
    found: str | None = None
    if not isinstance(report, Mapping):
        found = f"a {type(report).__name__}"
    elif not isinstance(report.get("loss"), Tensor):
        found = f"the loss {report['loss']!r}" if "loss" in report else "no loss"
    elif report["loss"].shape != (rows,) or not report["loss"].is_floating_point():
        found = f"a loss of shape {tuple(report['loss'].shape)} and {report['loss'].dtype}"
    elif not isinstance(report.get("stop", ""), str):
        found = f"stop = {report['stop']!r}"
    else:
        names = [name for name, value in report.items() if not _is_plain(value)]
        if names:
            found = f"{names[0]} = {report[names[0]]!r}"
        elif not float(report.get("cg_steps", 0)) >= 0:
            found = f"cg_steps = {report['cg_steps']!r}"
    if found is not None:
        raise BrokenContract(
            f"`step` of {method.name} returned {found}. It must return a mapping with the loss "
            f"before the update, a tensor of floating-point numbers of shape ({rows},), and beside "
            "it numbers, tensors, and `stop`, a text that says why the trial ends."
        )


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor | str | SupportsFloat)


def fingerprint(value: Any, depth: int = DEPTH) -> Any:
    """Return what is equal for values with equal bits: a checksum in place of every tensor.

    An object that shows no more of itself than where it is stands for what it holds: a copy of a
    state is an equal one.
    """
    if isinstance(value, Tensor):
        return [str(value.dtype), tuple(value.shape), checksum(value.reshape(1, 1, -1))]
    if isinstance(value, Mapping):
        return {name: fingerprint(each, depth) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [fingerprint(each, depth) for each in value]
    if type(value).__repr__ is object.__repr__:
        held = getattr(value, "__dict__", {})
        return [type(value).__qualname__, fingerprint(held, depth - 1) if depth else {}]
    # NaN is not equal to itself.
    return repr(value)
