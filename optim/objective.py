"""What a method sees of a problem, and what a training loop sees of a method.

These two contracts are all that an author of an optimizer needs to read.

K trials are trained as one tensor program: parameters, gradients, velocities
and conjugate-gradient vectors are flat tensors of shape (K, P), a row a trial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from bench.optim.hyperparameters import Hyperparameter


class Full(Enum):
    """The type of `FULL`, the whole training set as a batch."""

    FULL = "the whole training set, streamed"


FULL = Full.FULL

Stream = Literal["gradient", "curvature"]

FORESEEN = 32
"""What steps read on a device is made ready for so many of them at a time."""

VECTORS, LINEARIZED = 16, 1.0
"""What a method without `vectors` or `linearized` is taken to need."""


class Layout(Protocol):
    """Where each named parameter of a network lies in a row of θ, for a method that asks for it."""

    shapes: Mapping[str, tuple[int, ...]]
    """The shape of every parameter in θ, in the order in which they lie there."""

    @property
    def size(self) -> int:
        """P, the length of a row; what lies between the parameters stays 0."""

    def role(self, name: str) -> str:
        """Return what a parameter is: weight, kernel, embedding, norm, bias or vector."""

    def layer(self, name: str) -> str:
        """Return the layer that a parameter belongs to."""

    def views(self, theta: Float[Tensor, "*K P"]) -> dict[str, Tensor]:
        """Return views of shape (*K, *shape) into θ; writing to them writes to θ."""

    def parameters(self, row: Float[Tensor, " P"]) -> dict[str, Tensor]:
        """Return views into one row, every matrix of a layer as (outputs, inputs), as in torch."""


class Batch(Protocol):
    """Training cases drawn from a named stream; a method sees their number, and no tensors.

    Only the objective that gave it takes it. It cannot be copied.
    """

    @property
    def cases(self) -> int:
        """Number of cases a row."""


Pair = tuple[Float[Tensor, "K P"], Float[Tensor, "K P"]]
"""Two vectors whose inner product is asked for."""


class Dots(Protocol):
    """Inner products that are needed together: an `Objective.dots`, or `dots` itself."""

    def __call__(self, *pairs: Pair) -> tuple[Float[Tensor, ""], ...]:
        """Return a·b of every pair (a, b)."""


class Curvature(Protocol):
    """v ↦ G v or v ↦ H v, linearised once at one θ on one batch and reused by every product."""

    def __call__(self, v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
        """Return the product, mean over cases, without λ or L2.

        Its memory may be written over by the caller, and is by the next product, of
        this or of any other operator of the same objective; so v must not be in it.
        """


class Objective(Protocol):
    """A training objective f(θ), mean over cases, without regulariser.

    Every call is entered in a ledger at its price, in gradient-equivalents: one
    gradient on one case costs 1, everything else what its passes cost by count.
    Evaluating again really runs the forward pass again. A call that the budget
    cannot pay raises `BudgetSpent` and does nothing, and so does every later call.

    It may be asked in `Method.step` alone, once for each point: with plain tensors of
    θ's shape, outside of `torch.func` transforms. Results cannot be differentiated.
    """

    def next_batch(self, size: int | Full, stream: Stream = "gradient") -> Batch:
        """Take the next `size` cases of a stream, or `FULL`, the whole training set.

        "gradient" is shuffled anew every epoch; "curvature" walks one fixed
        shuffle round and round, so equal sizes that divide it give the same chunks in turn.
        A problem that draws its cases anew gives fresh ones every time, from either
        stream; it has no whole training set, and refuses `FULL` with ValueError.
        """

    def loss(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, " K"]:
        """Return f(θ) of every row."""

    def gradient(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"]]:
        """Return f(θ) and ∇f(θ); the gradient's memory is reused by the next call."""

    def gradient_parts(
        self, theta: Float[Tensor, "1 P"], on: Batch
    ) -> tuple[Float[Tensor, " 1"], list[Tensor]]:
        """Return f(θ) and ∇f(θ) of one row, a new tensor for each parameter.

        They have order and shapes of `Layout.parameters`. For a method that acts on parameters it
        is faster than `gradient`, at the same price.
        """

    def squared_gradient(self, theta: Float[Tensor, "K P"], on: Batch) -> Float[Tensor, "K P"]:
        """Return the mean over cases of the squared per-case gradient; a new tensor."""

    def curvature(
        self, theta: Float[Tensor, "K P"], on: Batch, structural: float | None = None
    ) -> Curvature:
        """Return v ↦ G v, the Gauss–Newton matrix Jᵀ H_L J at θ on `on`.

        `structural` = s adds s·G_S, where G_S = mean over cases of J_xᵀ diag(1 − h²) J_x
        over the hidden pre-activations x of all time steps, h = tanh x (Martens &
        Sutskever 2011); a problem without hidden state over time refuses it with ValueError.
        """

    def hessian(
        self, theta: Float[Tensor, "K P"], on: Batch
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, "K P"], Curvature]:
        """Return f(θ), ∇f(θ) and v ↦ H v, the Hessian ∇²f(θ) on `on`, exact and often indefinite.

        It costs a gradient, whose graph is kept, and every product is charged when it is made.
        The gradient's memory is reused by the next call.
        """

    @property
    def spent(self) -> float:
        """The share of the budget that is spent, 0 to 1; in seconds, as rank 0 has measured it.

        For what follows the run and cannot count its updates; every rank asks at the same place.
        """

    def dots(self, *pairs: Pair) -> tuple[Float[Tensor, ""], ...]:
        """Return a·b over all numbers of every pair (a, b), as scalars that stay on the device.

        They are the same bits on every process that trains this fleet, whatever machine it is
        on; so a method takes from here each inner product that decides what it does, and those
        that are needed together in one call. Where a single process trains, `dots` does.
        """


class BudgetSpent(Exception):
    """The budget cannot pay for a call; the loop undoes the step that asked for it, and ends.

    Only an objective raises it. A step of a declared cost never meets it.
    """


class Method(Protocol):
    """An optimizer with its backend and hyperparameters: `init` once, then `step` on and on.

    `step` changes θ and the state in place and gets at the problem through the
    objective alone. It may be abandoned half-way by `BudgetSpent`.
    """

    name: ClassVar[str]
    """What is written on the command line: `nag`."""
    reference: ClassVar[str]
    """Where the method comes from."""
    space: ClassVar[tuple[Hyperparameter, ...]]
    """Every hyperparameter with type, default, bounds and, where it is tuned, its range."""
    backends: ClassVar[tuple[str, ...]]
    """What can compute the update: `torch`, `numba`, `numba-cuda`; the first is the default, unless
    the class has a `default_backend(device)`. A class may have a `require_backend(backend, device)`
    too, which is asked before anything is done and raises Unavailable, with a sentence, where this
    machine lacks what the backend needs to run on its "cpu" or "cuda"."""
    backend: str
    """The one that does: the constructor's first argument, before the hyperparameters."""
    hyperparameters: Mapping[str, Any]
    """The values of `space`, cast to the declared types."""
    capturable: ClassVar[bool] = False
    """Whether `step` gives a GPU the same work every time, so that a CUDA graph can repeat it:
    it waits for nothing, reads what changes from step to step from memory on the device, where
    `foresee` puts it, takes one batch a step, of a size and not FULL, and leaves nothing on the
    host to be changed. Its report has the loss; it cannot stop of itself."""

    def __init__(self, backend: str, **given: object) -> None: ...

    @property
    def cost_of_a_step(self) -> float | None:
        """Gradient-equivalents of one step where that is fixed, else None.

        A step that costs more fails the trial.
        """

    @property
    def fleet_key(self) -> tuple[Any, ...] | None:
        """Methods with equal keys can share a fleet (see `join`); None: K = 1 only."""

    @property
    def vectors(self) -> int:
        """How many tensors of θ's size there are at once in a step, at most.

        They are θ, the state, what the objective has returned, and what the step makes itself.
        With `linearized` it says what memory a fleet needs, before it is run.
        """
        return VECTORS

    @property
    def linearized(self) -> float:
        """The greatest part of a batch of `batch` cases whose curvature is asked for at once.

        0 for a method that asks for none.
        """
        return LINEARIZED

    @property
    def hessian_part(self) -> float:
        """The greatest part of a batch of `batch` cases whose Hessian is asked for at once.

        0 for a method that asks for none.
        """
        return 0.0

    def join(self, others: list[Any]) -> Method:
        """Return one method whose rows are this one's and the others', in that order.

        Such a method may have a `keep(state, rows, theta)` too, which returns method and state of
        some of the rows, whose θ is now `theta`: where most of a fleet's rows have diverged, the
        others then go on without them.

        A method with a step size, or with a weight decay, that a recipe's schedule is to reach has
        `set_rates(state, factors)`, or `set_weight_decay(state, factors)`: from then on it is
        multiplied by a column (K, 1) of float64, which is on θ's device where the method is
        `capturable`, else on the CPU. One that keeps copies of θ has `theta_moved(state)`, which
        is called when a recipe has changed θ behind its step.
        """

    def for_layout(self, layout: Layout) -> Method:
        """Return the method for a θ of this layout, with which a trial begins.

        A method that acts on matrices takes their places in θ from here. Raises UsageError, with
        the parameter's name, where it cannot train such a network.
        """
        return self

    def anytime_updates(self, budget: int | None) -> float:
        """Return how many of a run's first updates do not depend on where its budget ends.

        They are the same as those of a longer run from the same start. `budget` is that of `init`.
        0 if the first update depends on it, as under a learning rate that falls until the end;
        ∞ for an anytime method, which does not look at `budget`.
        """
        return math.inf

    def init(self, theta: Float[Tensor, "K P"], seed: int, budget: int | None) -> Any:
        """Return the state before the first step, without moving θ.

        `budget` is in updates, if that is known.
        """

    def step(
        self, theta: Float[Tensor, "K P"], objective: Objective, state: Any
    ) -> Mapping[str, Any]:
        """Make one update and report on it.

        The report has "loss", shape (K,), the objective at the point where the
        gradient was taken. Other entries are scalars, shown as diagnostics; the
        entry "stop", a sentence, ends the trial for that reason before its budget does;
        where it stands is its result.
        """

    def foresee(self, state: Any, t: int, updates: int) -> None:
        """Make ready on the device what the steps t … t + updates − 1 will read.

        Called before these steps are repeated from a graph, for as many as will be made then, at
        most FORESEEN; only a `capturable` method needs it. What a graph reads stays where it is.
        """

    def iterate(self, theta: Float[Tensor, "K P"], state: Any) -> Float[Tensor, "K P"]:
        """Return the parameters to evaluate, for methods whose θ is something else.

        It changes neither θ nor the state, and may not ask the objective.
        """

    def state_dict(self, state: Any) -> dict[str, Any]:
        """Return tensors and plain numbers from which `load_state_dict` goes on exactly."""

    def load_state_dict(self, state: Any, saved: Mapping[str, Any]) -> None:
        """Put a saved state into `state`, as `init` made it, in place."""


def dots(*pairs: Pair) -> tuple[Float[Tensor, ""], ...]:
    """Return a·b of every pair (a, b), as this process computes it."""
    return tuple(torch.dot(a.view(-1), b.view(-1)) for a, b in pairs)


def rows(values: list[float], like: Float[Tensor, "K P"]) -> Float[Tensor, "K 1"]:
    """Return per-row numbers as a column that broadcasts over θ, in θ's type and place."""
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(1)
