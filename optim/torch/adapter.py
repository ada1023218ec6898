"""Any torch.optim.Optimizer as a method: `torch.optim.AdamW[lr=1e-3]`, `package:Theirs[lr=0.1]`.

The optimizer gets the network's parameters, views of θ with their shapes, in the order of the
layout, and the gradient that the objective computes; its hyperparameters are its constructor's
keyword arguments.

A factory, a function that takes the parameters and returns a torch optimizer, works like a class:
its hyperparameters are its keyword arguments.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.optim.hyperparameters import UsageError, cast_all, nearest
from bench.optim.objective import Layout, Method, Objective
from bench.optim.plugins import short
from bench.optim.random_streams import RandomStreams
from bench.optim.torch.fit import state_size
from bench.optim.torch.group_values import (
    DECAY,
    LR,
    GroupValues,
    check_one_schedule,
    check_reads,
)
from bench.optim.torch.parameters import LOST, Parameters, copies, taken
from bench.optim.torch.probe import Manner, advance, manner_of, switches
from bench.optim.torch.signature import UPDATES, Makes, arguments, counts, declared, like
from bench.optim.torch.together import check_lasts, load, members

TORCH_PREFIX = "torch.optim."

AVERAGES = {torch.optim.ASGD: "ax"}
"""Where the state of torch's own averaging optimizers has the average, which is their result."""

MADE_IN_A_STEP = 3
"""Tensors of θ's size that any of torch's optimizers makes and drops within a step, at most."""
MADE_BY_OTHERS = 10
"""And any of somebody else's; the most that was found among a hundred of them."""

MADE_BY_PRODUCTS = 3
"""The gradient's parts once more, z, and a copy of H z."""


@dataclass
class State:
    """The optimizer, and the parameters that it changes."""

    parameters: Parameters
    optimizer: torch.optim.Optimizer
    taken: Set[int]
    """The parameters in its groups, by their `id`."""
    lr: GroupValues
    weight_decay: GroupValues
    begun: bool = False
    """Whether it has made a step; before, some have no point to evaluate but θ."""

    def follow(self) -> None:
        """Put θ where the optimizer has put its parameters; UsageError where that is no θ."""
        kind = type(self.optimizer).__name__
        if self.parameters.torchs_own:
            self.parameters.follow(kind)
            return
        if not self.taken <= taken(self.optimizer):
            raise UsageError(f"{kind} {LOST}")
        self.parameters.follow(kind)


class TorchMethod(Method):
    """The step of a torch optimizer, fed by `Objective.gradient`; K = 1."""

    reference = "torch.optim"
    backends = ("torch",)
    optimizer: ClassVar[Makes]
    made_from: ClassVar[Makes | None] = None
    """The class or factory whose source a trial runs; None for torch's own."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """The constructor's own defaults, which show in what form it takes its arguments."""
    counts: ClassVar[tuple[str, ...]] = ()
    """Arguments that get the number of updates."""
    hyperparameters: Mapping[str, Any]
    is_scheduled: bool = False
    """Whether a recipe sets its learning rate."""

    def __init__(self, backend: str = "torch", /, **given: object) -> None:
        self.backend = backend
        self.hyperparameters = cast_all(self.space, given, self.name)
        # Said now, before anything has run.
        try:
            with RandomStreams.seeded(0).in_place():
                self._made([torch.nn.Parameter(torch.zeros(2, 2))])
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(f"{self.name} {self.refusal(error)}.") from error
        self.manner = self._manner()
        self.layout: Layout | None = None
        self.held = self.manner.held

    @classmethod
    def torch_parts(cls) -> tuple[type[TorchMethod], ...]:
        """Return the classes of the torch optimizers that this method consists of."""
        return (cls,)

    @property
    def cost_of_a_step(self) -> float | None:
        """One gradient on every case of the batch, unless a step may ask for more."""
        fixed = self.manner.once and not self.manner.differentiates
        return float(self.hyperparameters["batch"]) if fixed else None

    @property
    def fleet_key(self) -> None:
        """One trial at a time: torch's optimizers have no rate per row."""
        return None

    @property
    def vectors(self) -> int:
        """θ, the gradient and its copy, the optimizer's state, and what its step makes."""
        torchs_own = self._is_torchs_own
        made = MADE_IN_A_STEP if torchs_own else MADE_BY_OTHERS
        return 3 + self.held + made + (MADE_BY_PRODUCTS if self.manner.differentiates else 0)

    @property
    def _is_torchs_own(self) -> bool:
        return all(part.made_from is None for part in self.torch_parts())

    @property
    def linearized(self) -> float:
        """No curvature."""
        return 0.0

    def anytime_updates(self, budget: int | None) -> float:
        """Return 0 if the class or function gets the number of updates, else ∞."""
        return 0.0 if self.counts else math.inf

    @property
    def hessian_part(self) -> float:
        """All of a batch, where the optimizer differentiates its gradient."""
        return 1.0 if self.manner.differentiates else 0.0

    def join(self, others: list[Any]) -> Method:
        """Refuse."""
        raise UsageError(f"{self.name} trains one trial at a time; run each in its own fleet.")

    def for_layout(self, layout: Layout) -> Method:
        """Return the method for a network's parameters; UsageError where it does not take them."""
        made = copy.copy(self)
        # A history grows for more than one step, which the probe has seen.
        made.layout = layout
        made.held = max(self.held, self._held_on(layout)) + copies(layout)
        return made

    def init(self, theta: Float[Tensor, "1 P"], seed: int, budget: int | None) -> State:
        """Make the optimizer on θ's memory."""
        if theta.shape[0] != 1:
            raise UsageError(
                f"{self.name} trains one trial at a time; it was given {theta.shape[0]} rows."
            )
        parameters = Parameters(theta, self.layout, self._is_torchs_own)
        optimizer = self.assemble(parameters.named, self.layout, budget)
        if switches(optimizer):
            optimizer.train()  # type: ignore[attr-defined]
        lr, decay = (GroupValues(optimizer, name) for name in (LR, DECAY))
        return State(parameters, optimizer, taken(optimizer), lr, decay)

    def assemble(
        self, named: Mapping[str, nn.Parameter], layout: Layout | None, updates: int | None
    ) -> torch.optim.Optimizer:
        """Make the optimizer on a network's parameters, or on a part of them.

        `updates` is the number of updates, if that is known.
        """
        return self._made(list(named.values()), **self.told(updates))

    def arguments(self, updates: int | None) -> dict[str, Any]:
        """Return what the class or factory is called with, behind the parameters."""
        given = {
            h.name: like(self.defaults[h.name], self.hyperparameters[h.name])
            for h in self.space
            if h.name in self.defaults
        }
        return {**given, **self.told(updates)}

    def told(self, updates: int | None) -> dict[str, int]:
        """Return the arguments that get the number of updates; UsageError if it is not known."""
        if updates is None and self.counts:
            raise UsageError(
                f"{self.name} asks for the number of updates ({', '.join(self.counts)}), and this "
                "budget does not tell it. Give a budget in gradients, updates or examples."
            )
        return {} if updates is None else dict.fromkeys(self.counts, updates)

    def check_budget(self, updates: int | None) -> None:
        """Raise UsageError where the optimizer cannot be made for so many updates."""
        assert self.layout is not None
        parameters = Parameters(torch.zeros(1, self.layout.size), self.layout)
        try:
            with RandomStreams.seeded(0).in_place():
                made = self.assemble(parameters.named, self.layout, updates)
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(
                f"{self.name} cannot be made for {updates} updates: {short(error).rstrip('.')}. "
                "Give another budget."
            ) from error
        if self.is_scheduled:
            check_one_schedule(made, self.name)
        if updates is not None:
            check_lasts(made, updates, self.name)

    def step(
        self, theta: Float[Tensor, "1 P"], objective: Objective, state: State
    ) -> Mapping[str, Any]:
        """Make one update; where it evaluates several times, each is at θ as it then is."""
        batch = objective.next_batch(self.hyperparameters["batch"])
        losses = []
        # torch's own ask for the one gradient of a step before they move anything.
        moves_late = self.manner.once and state.parameters.torchs_own

        def closure() -> Any:
            # An optimizer turns gradients on around it, for those who need autograd.
            with torch.no_grad():
                point = theta if moves_late else state.parameters.point()
                if self.manner.differentiates:
                    loss, gradient, product = objective.hessian(point, on=batch)
                    state.parameters.take_flat(gradient, product)
                elif self.layout is None:
                    loss, gradient = objective.gradient(point, on=batch)
                    state.parameters.take_flat(gradient)
                else:
                    loss, parts = objective.gradient_parts(point, on=batch)
                    state.parameters.take(parts)
            losses.append(loss)
            return loss[0]

        with state.parameters.graphs() if self.manner.differentiates else nullcontext():
            advance(state.optimizer, closure, self.manner)
        state.follow()
        state.begun = True
        return {"loss": losses[0]}

    def set_rates(self, state: State, factors: Float[Tensor, "1 1"]) -> None:
        """Let the next steps have this factor of the learning rates in the optimizer's groups."""
        state.lr.multiply(factors.item())

    def set_weight_decay(self, state: State, factors: Float[Tensor, "1 1"]) -> None:
        """Let the next steps have this factor of the weight decays in the optimizer's groups."""
        state.weight_decay.multiply(factors.item())

    def check_set_rates(self) -> None:
        """Raise UsageError where the optimizer does not read its lr anew in each step."""
        self.is_scheduled = True
        if self._has_some(LR):
            check_reads(self._made, LR, self.name)

    def check_set_weight_decay(self) -> None:
        """Raise UsageError where it does not read its weight_decay anew in each step."""
        if self._has_some(DECAY):
            check_reads(self._made, DECAY, self.name)

    def _has_some(self, name: str) -> bool:
        """Return whether it, or the optimizer in it, has a value of this name other than 0."""
        own = self.hyperparameters.items()
        return any(value for key, value in own if key.rpartition(".")[2] == name)

    def theta_moved(self, state: State) -> None:
        """Put the parameters where θ now is."""
        state.parameters.rewind()

    def iterate(self, theta: Float[Tensor, "1 P"], state: State) -> Float[Tensor, "1 P"]:
        """Return what the optimizer holds (for torch's nesterov that is its look-ahead point).

        torch's ASGD is evaluated at its average, and one with `eval` and `train` where `eval` puts
        it; θ is left as it is.
        """
        if not state.begun:
            return theta
        optimizer, parameters = state.optimizer, state.parameters
        averages = _averages_in(optimizer)
        if not switches(optimizer):
            return parameters.whole(averages) if averages else theta
        places = parameters.places()
        kept = [place.clone() for place in places]
        # In their own memory: some know a parameter by it.
        optimizer.eval()  # type: ignore[attr-defined]
        point = parameters.whole(averages)
        optimizer.train()  # type: ignore[attr-defined]
        # The way there and back rounds.
        parameters.restore(places, kept)
        return point

    def state_dict(self, state: State) -> dict[str, Any]:
        """Return the optimizer's own state."""
        held = state.optimizer.state_dict()
        try:
            # torch hands out, and takes in, the very tensors that later steps write over.
            return {"optimizer": copy.deepcopy(held)}
        except Exception:
            # A lock, or a tensor with a graph, cannot be copied. Whoever saves this says so.
            return {"optimizer": held}

    def load_state_dict(self, state: State, saved: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        load(state.optimizer, saved["optimizer"])
        state.begun = True
        state.parameters.rewind()
        state.lr.read()
        state.weight_decay.read()

    def refusal(self, error: Exception) -> str:
        """Say, after the name, why the constructor raised."""
        first = next(iter(inspect.signature(self.optimizer).parameters))
        if isinstance(self.optimizer, type) and first != "params":
            return f"is made of {first!r}, not of parameters alone: {short(error).rstrip('.')}"
        return refused(error)

    def _held_on(self, layout: Layout) -> int:
        """Return the size of its state for these parameters, once in a process for a class."""
        kinds = tuple(part.optimizer for part in self.torch_parts())
        network = tuple((n, s, layout.role(n), layout.layer(n)) for n, s in layout.shapes.items())
        key = kinds, self._written, network
        # A factory is asked again each time: it may make something else.
        known = all(isinstance(kind, type) for kind in kinds)
        if known and key in _held:
            return _held[key]
        found = state_size(self.assemble, self.name, layout, self.manner)
        if known:
            _held[key] = found
        return found

    @property
    def _written(self) -> tuple[tuple[str, str], ...]:
        """The hyperparameters, so that 1 is another value than True and 1.0."""
        return tuple((name, repr(value)) for name, value in self.hyperparameters.items())

    def _manner(self) -> Manner:
        """Return what the probe finds, for a class and its hyperparameters once in a process."""
        kinds = tuple(part.optimizer for part in self.torch_parts())
        key = kinds, self._written
        known = all(isinstance(kind, type) for kind in kinds)
        if known and key in _manners:
            return _manners[key]
        found = manner_of(
            self._made,
            self.name,
            known=self.name.startswith(TORCH_PREFIX) and self.made_from is None,
            may_rest=self.hyperparameters.get("lr") == 0,
        )
        if known:
            _manners[key] = found
        return found

    def _made(self, parameters: Sequence[Any], **changed: object) -> torch.optim.Optimizer:
        """Make the optimizer on parameters, or on groups of them, with other values if given."""
        return self.checked(self.optimizer(parameters, **{**self.arguments(UPDATES), **changed}))

    def checked(self, made: object) -> torch.optim.Optimizer:
        """Return what the class or factory has made; UsageError if that is no torch optimizer."""
        if not isinstance(made, torch.optim.Optimizer):
            raise UsageError(
                f"{self.name} gave {type(made).__name__}, not a torch.optim.Optimizer."
            )
        return made


_held: dict[Any, int] = {}
"""The size of the state, by classes, hyperparameters and the network."""

_manners: dict[Any, Manner] = {}
"""What the probe has found. A factory is asked again each time: it may make something else."""


@cache
def of_torch(name: str) -> type[TorchMethod]:
    """Return the method class for `torch.optim.NAME`: always the same one."""
    written = name.removeprefix(TORCH_PREFIX)
    known = {key: value for key, value in vars(torch.optim).items() if is_optimizer(value)}
    if written not in known:
        raise UsageError(f"torch.optim has no optimizer {written!r}{nearest(written, known)}")
    return adapt(known[written], name)


def is_optimizer(value: object) -> bool:
    """Say whether something is a torch optimizer's class."""
    base = torch.optim.Optimizer
    return isinstance(value, type) and issubclass(value, base) and value is not base


def is_factory(value: object) -> bool:
    """Say whether something may be a factory: what can be called and is no class."""
    return callable(value) and not isinstance(value, type)


def adapt(
    optimizer: Makes,
    name: str,
    base: type[TorchMethod] | None = None,
    without: str | None = None,
) -> type[TorchMethod]:
    """Return the method class for a torch optimizer, under the name by which it is written.

    `optimizer` is its class or a factory; UsageError for a signature that cannot be one. `base` is
    how it is made, if not of parameters alone, and `without` an argument that it gives itself.
    """
    given = {
        "__module__": __name__,
        "name": name,
        "optimizer": staticmethod(optimizer),
        "space": tuple(declared(optimizer, name, without)),
        "defaults": {each.name: each.default for each in arguments(optimizer, name)},
        "counts": tuple(counts(optimizer, name)),
    }
    called = getattr(optimizer, "__name__", type(optimizer).__name__)
    if not name.startswith(TORCH_PREFIX):
        # So that its source is what a trial's certificate has the digest of.
        module = getattr(optimizer, "__module__", type(optimizer).__module__)
        given |= {"__module__": module, "reference": module, "made_from": staticmethod(optimizer)}
    return type(called, (base or TorchMethod,), given)


def _averages_in(optimizer: torch.optim.Optimizer) -> dict[Tensor, Tensor]:
    """Return the averages of parameters that are evaluated instead of them."""
    return {
        parameter: held[name]
        for each in members(optimizer)
        for base, name in AVERAGES.items()
        if isinstance(each, base)
        for parameter, held in each.state.items()
        if name in held
    }


def refused(error: Exception) -> str:
    """Say, after an optimizer's name, that its constructor raised."""
    if isinstance(error, TypeError | ValueError):
        return f"refuses its hyperparameters: {str(error).rstrip('.')}"
    return f"cannot be made: {short(error).rstrip('.')}"
