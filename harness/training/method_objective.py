"""The objective as a method holds it: an object that computes and charges, and shows nothing.

A method gets a `MethodObjective`, batches that are only a number of cases, and products. None of
them has an attribute, a closure or a bound object that leads to data, passes or ledger; what they
stand for is kept in this module. A Python process cannot hide anything from code that searches its
memory, so `Fleet` also counts the passes that run against those that were paid for.
"""

from __future__ import annotations

from typing import Any, NoReturn, Protocol
from weakref import ref

from jaxtyping import Float
from torch import Tensor

from bench.harness.core.errors import BrokenContract
from bench.harness.training.method_watch import MethodWatch
from bench.optim.objective import FULL, Batch, Curvature, Full, Objective, Pair, Stream


class _Opaque:
    """An object without attributes; it cannot be copied, because a copy would stand for nothing."""

    __slots__ = ("__weakref__",)

    def __copy__(self) -> NoReturn:
        raise BrokenContract(f"{type(self).__doc__} It cannot be copied; take it from `objective`.")

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__copy__()

    def __reduce__(self) -> NoReturn:
        self.__copy__()


class TrainingBatch(_Opaque):
    """A batch is only a number of cases to a method."""

    __slots__ = ()

    @property
    def cases(self) -> int:
        """Number of cases for each row, on all ranks together."""
        return _CASES[id(self)][2].cases


class Product(_Opaque):
    """A product v ↦ G v or v ↦ H v is only a function to a method."""

    __slots__ = ()

    def __call__(self, v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
        """Return the product, charged when it is computed; the next one overwrites its memory."""
        _, bound, product = _PRODUCTS[id(self)]
        bound.watch.require_step()
        return product(bound.vector(v))


class ChargedObjective(Objective, Protocol):
    """What stands behind a `MethodObjective`: its batches are tensors."""

    watch: MethodWatch
    whole: TrainingBatch | None
    """The batch of the whole training set, if the method has asked for it."""

    def vector(self, given: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
        """Return one tensor of θ's shape as plain numbers; raise BrokenContract for another."""


class MethodObjective(_Opaque):
    """An objective is only its calls to a method."""

    __slots__ = ()

    def next_batch(self, size: int | Full, stream: Stream = "gradient") -> TrainingBatch:
        """Return the next `size` cases of a stream; FULL means the whole training set."""
        bound = _bound(self)
        if size is FULL and bound.whole is not None:
            return bound.whole
        batch = TrainingBatch()
        _CASES[id(batch)] = _gone(batch, _CASES), ref(bound), bound.next_batch(size, stream)
        if size is FULL:
            bound.whole = batch
        return batch

    def loss(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, " K"]:
        """Return f(θ) of every row, in float64."""
        bound = _bound(self)
        return bound.loss(bound.vector(theta), _cases(bound, on))

    def gradient(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"]]:
        """Return f(θ) and ∇f(θ); the next call overwrites the gradient's memory."""
        bound = _bound(self)
        return bound.gradient(bound.vector(theta), _cases(bound, on))

    def gradient_parts(
        self, theta: Float[Tensor, "1 P"], on: Batch
    ) -> tuple[Float[Tensor, " 1"], list[Tensor]]:
        """Return f(θ) and ∇f(θ) of one row, a new tensor for each parameter."""
        bound = _bound(self)
        return bound.gradient_parts(bound.vector(theta), _cases(bound, on))

    def squared_gradient(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, "K P"]:
        """Return the mean over cases of the squared per-case gradient, as a new tensor."""
        bound = _bound(self)
        return bound.squared_gradient(bound.vector(theta), _cases(bound, on))

    def curvature(
        self, theta: Float[Tensor, "K P"], on: Batch, structural: float | None = None
    ) -> Curvature:
        """Return v ↦ G v, linearised once at θ; each product is charged when it is computed."""
        bound = _bound(self)
        computed = bound.curvature(bound.vector(theta), _cases(bound, on), structural)
        return _product(bound, computed)

    def hessian(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"], Curvature]:
        """Return f(θ), ∇f(θ) and v ↦ H v; each product is charged when it is computed."""
        bound = _bound(self)
        value, gradient, computed = bound.hessian(bound.vector(theta), _cases(bound, on))
        return value, gradient, _product(bound, computed)

    @property
    def spent(self) -> float:
        """The share of the budget that is spent, 0 to 1."""
        return _bound(self).spent

    def dots(self, *pairs: Pair) -> tuple[Float[Tensor, ""], ...]:
        """Return a·b of every pair; with several ranks, each sums its share of the numbers."""
        return _bound(self).dots(*pairs)


class _Reference(ref[object]):
    """A weak reference to a handle, which takes the handle's entry away when it goes."""

    __slots__ = ("entries", "key")
    entries: dict[int, Any]
    key: int


def _gone(handle: object, entries: dict[int, Any]) -> _Reference:
    made = _Reference(handle, _remove)
    made.entries, made.key = entries, id(handle)
    return made


def _remove(reference: Any) -> None:
    reference.entries.pop(reference.key, None)


# By the `id` of a handle; a WeakKeyDictionary does the same, and costs an update several times as
# much. References to a trial are weak: it ends.
_BOUND: dict[int, tuple[_Reference, ref[ChargedObjective]]] = {}
_CASES: dict[int, tuple[_Reference, ref[ChargedObjective], Batch]] = {}
_PRODUCTS: dict[int, tuple[_Reference, ChargedObjective, Curvature]] = {}


def opaque(bound: ChargedObjective) -> MethodObjective:
    """Return the objective that a method is given in place of a bound one."""
    made = MethodObjective()
    _BOUND[id(made)] = _gone(made, _BOUND), ref(bound)
    return made


def _product(bound: ChargedObjective, computed: Curvature) -> Product:
    product = Product()
    _PRODUCTS[id(product)] = _gone(product, _PRODUCTS), bound, computed
    return product


def _bound(objective: MethodObjective) -> ChargedObjective:
    found = _BOUND.get(id(objective))
    bound = None if found is None else found[1]()
    if bound is None:
        raise BrokenContract(
            "A method asked an objective whose trial has ended, or one that it made itself. Use "
            "the objective that `step` is given."
        )
    bound.watch.require_step()
    return bound


def _cases(bound: ChargedObjective, on: Batch) -> Batch:
    """Return the cases of a batch that this objective has given; refuse every other object."""
    found = _CASES.get(id(on)) if isinstance(on, TrainingBatch) else None
    if found is not None and found[1]() is bound:
        return found[2]
    raise BrokenContract(
        f"{bound.watch.method} asked about a batch that this objective has not given (a "
        f"{type(on).__name__}). Take every batch from `objective.next_batch`."
    )
