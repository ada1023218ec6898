"""Find out how a torch optimizer works, from a few steps on the parameters of a small network.

Gradients are assigned. So an optimizer that works while `backward` runs would do nothing, or
something else, and it must move the parameters that it was given.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from bench.optim.hyperparameters import UsageError
from bench.optim.plugins import short
from bench.optim.random_streams import RandomStreams
from bench.optim.torch.parameters import LOST, taken, wrapped

Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]
Shapes = tuple[tuple[int, ...], ...]

NETWORK: Shapes = ((6, 4), (6,), (3, 6), (3,))
MATRICES: Shapes = ((6, 4), (3, 6))
VECTOR: Shapes = ((12,),)
"""Some optimizers take matrices alone, and a few take vectors alone."""
TRIED = NETWORK, MATRICES, VECTOR
STEPS, FEW, MANY = 10, 3, 100
"""MANY steps are made where STEPS have moved nothing: some wait before their first update."""
FAR = 10.0
"""Where the loss becomes linear, so that steps of any length meet gradients that are finite."""
SAME = 1e-3
"""Of how far the numbers have moved: what another order of summation in float32 explains."""


@dataclass(frozen=True)
class Manner:
    """How an optimizer's step obtains gradients, and the size of its state."""

    by_closure: bool
    """Whether it evaluates the given closure always, and needs no gradient before the step."""
    once: bool
    """Whether a step takes one gradient always; where it took more, it may take others later."""
    held: int
    """Numbers in its state for each number of the parameters, rounded up."""
    besides: bool = False
    """Whether it takes a closure, which it may evaluate, and needs the gradient before too."""
    differentiates: bool = False
    """Whether it differentiates gradients again, as after `backward(create_graph=True)`."""


def advance(optimizer: torch.optim.Optimizer, closure: Callable[[], Any], manner: Manner) -> None:
    """Let an optimizer make a step; `closure` computes the loss and assigns gradients."""
    if not manner.by_closure:
        closure()
    if manner.by_closure or manner.besides:
        optimizer.step(closure=closure)
    else:
        optimizer.step()


def manner_of(
    make: Make,
    name: str,
    known: bool = False,
    may_rest: bool = False,
    tried: Sequence[Shapes] = TRIED,
) -> Manner:
    """Return how the optimizer works that `make` makes.

    UsageError, with the reason, where it cannot make a step, or where it would not do what it does
    in a training loop. `known` optimizers, torch's own, are not asked the last. `may_rest` is for a
    step size of 0. The parameters have the first of the `tried` shapes that it takes.
    """
    if hooked := _hooked(make, tried):
        raise UsageError(f"{name} {hooked}")
    shapes = _accepted(make, tried)
    try:
        run = _Run(make, shapes, differentiable=_differentiates(make, shapes))
    except Exception as error:
        # After a first step that changes the type or the shape, the second may fail by anything.
        if (of_a_step := _fault_of_a_step(make, shapes)) is not None:
            raise UsageError(f"{name} {of_a_step}") from error
        raise UsageError(f"{name} cannot make a step: {_reason(make, shapes, error)}.") from error
    if fault := run.fault or (not may_rest and _never_moves(make, run)):
        raise UsageError(f"{name} {fault}")
    if not known and (fault := _unlike_a_loop(make, run)):
        raise UsageError(f"{name} {fault}")
    if run.manner.besides and run.manner.once and _asks_later(make, run):
        return replace(run.manner, once=False)
    if run.manner.by_closure and _needs_gradient(make, run):
        return replace(run.manner, by_closure=False, once=False, besides=True)
    return run.manner


def effect_of(make: Make, other: Make) -> bool:
    """Return whether two ways to make an optimizer lead the first parameter to another place."""
    shapes = _accepted(make)
    first, again = torch.Size(shapes[0]).numel(), _differentiates(make, shapes)
    for long in (False, True):
        given: dict[str, Any] = {"steps": MANY, "still": True} if long else {}
        runs = [_Run(each, shapes, differentiable=again, **given) for each in (make, other)]
        # Some wait before their first update.
        if runs[0].moved.any() or runs[1].moved.any():
            break
    return not torch.equal(*(run.path[-1][:first].nan_to_num() for run in runs))


def _accepted(make: Make, tried: Sequence[Shapes] = TRIED) -> Shapes:
    """Return the first shapes of parameters with which the optimizer makes a step."""
    for differentiable in (False, True):
        for shapes in tried:
            try:
                _Run(make, shapes, steps=1, differentiable=differentiable)
            except Exception:
                continue
            return shapes
    # Its reason is said for these.
    return tried[0]


def _differentiates(make: Make, shapes: Shapes) -> bool:
    """Return whether an optimizer makes steps with gradients that have graphs, and none without."""
    try:
        _Run(make, shapes)
    except Exception:
        try:
            _Run(make, shapes, differentiable=True)
        except Exception:
            return False
        return True
    return False


@dataclass
class _Run:
    """A few steps on ½ Σ d (θ − m)², where m moves from step to step so that none ends at rest.

    The loss is linear where θ − m is beyond FAR: at a learning rate at which it diverges, an
    optimizer that decomposes matrices might raise, but its manner is what it is at any other.
    """

    make: Make
    shapes: Shapes
    steps: int = STEPS
    dtype: torch.dtype = torch.float32
    differentiable: bool = False
    """Whether gradients can be differentiated again."""
    attached: bool = False
    """Whether the loss that the closure returns can be differentiated."""
    still: bool = False
    """Whether m stays where it is, for those that move only if gradients go on pointing one way."""
    bare: bool = False
    """Whether there are no gradients before a step."""
    backward: bool = False
    """Whether gradients come from `backward`, as in a training loop, and are not assigned."""
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        sizes = [torch.Size(shape).numel() for shape in self.shapes]
        self.numbers = sum(sizes)
        start = torch.linspace(-1, 2, self.numbers, dtype=self.dtype)
        # Biases begin at 0, and some optimizers train small numbers alone.
        start[-1] = 0
        self._d = torch.linspace(0.5, 2, self.numbers, dtype=self.dtype)
        self._at = torch.arange(self.numbers, dtype=self.dtype)
        parts = zip(start.split(sizes), self.shapes, strict=True)
        self.parameters = [torch.nn.Parameter(part.clone().view(shape)) for part, shape in parts]
        self._sizes = sizes
        self.path: list[Tensor] = []
        with RandomStreams.seeded(0).in_place():
            self._train()
        end = self._flat().detach()
        # Another shape is a fault, which is told.
        self.moved = end - start if end.shape == start.shape else torch.zeros_like(start)

    @property
    def manner(self) -> Manner:
        """What was seen."""
        most, least = max(self.counts), min(self.counts)
        return Manner(
            by_closure=least > 0,
            once=most <= 1 and most == least,
            held=held_by(self.optimizer, self.parameters),
            # One that has not evaluated the closure may do so later.
            besides=least == 0 and takes_closure(self.optimizer),
            differentiates=self.differentiable,
        )

    @property
    def fault(self) -> str | None:
        """What the steps have done to the parameters that a training loop would not survive."""
        for parameter, shape in zip(self.parameters, self.shapes, strict=True):
            if parameter.dtype != self.dtype or parameter.numel() != torch.Size(shape).numel():
                return (
                    f"turns parameters of type {self.dtype} and shape {shape} into "
                    f"{parameter.dtype} and {tuple(parameter.shape)}. An "
                    "optimizer must keep type and shape."
                )
            if not parameter.requires_grad:
                return (
                    "switches off requires_grad of its parameters, so that a network would get no "
                    "gradients any more. bench cannot compare it."
                )
            if _hooks_of(parameter):
                return _HOOKS
        return None if self._taken <= taken(self.optimizer) else LOST

    def _train(self) -> None:
        self.optimizer = self.make(self.parameters)
        self._taken = taken(self.optimizer)
        if switches(self.optimizer):
            self.optimizer.train()  # type: ignore[attr-defined]
        for number in range(self.steps):
            self._step(number)
            self.path.append(self._flat().detach().clone())

    def _step(self, number: int) -> None:
        asked = 0

        def gradient() -> Tensor:
            with torch.enable_grad():
                m = torch.sin(self._at + (0 if self.still else number))
                theta = self._flat()
                loss = (self._d * huber_loss(theta, m, reduction="none", delta=FAR)).sum()
            if self.backward:
                self.optimizer.zero_grad()
                with warnings.catch_warnings():
                    # Of a cycle of graphs and parameters, which ends with the step.
                    warnings.simplefilter("ignore")
                    loss.backward(create_graph=self.differentiable)
            elif self.differentiable:
                found = torch.autograd.grad(loss, self.parameters, create_graph=True)
                for parameter, each in zip(self.parameters, found, strict=True):
                    parameter.grad = each
            else:
                away = (theta.detach() - m).clamp(-FAR, FAR)
                whole = (self._d * away).split(self._sizes)
                for parameter, part in zip(self.parameters, whole, strict=True):
                    parameter.grad = part.clone().view(parameter.shape)
            return loss if self.attached else loss.detach()

        def closure() -> Any:
            nonlocal asked
            asked += 1
            return gradient()

        if self.bare:
            for parameter in self.parameters:
                parameter.grad = None
        else:
            gradient()
        with torch.no_grad():
            self.optimizer.step(**({"closure": closure} if takes_closure(self.optimizer) else {}))
        if self.differentiable:
            for parameter in self.parameters:
                parameter.grad = None
        self.counts.append(asked)

    def _flat(self) -> Tensor:
        return torch.cat([parameter.reshape(-1) for parameter in self.parameters])


_HOOKS = (
    "registers hooks on its parameters. Hooks run in backward(), but bench computes a gradient and "
    "assigns it, so they would never run. Write the update in step()."
)


def held_by(optimizer: torch.optim.Optimizer, parameters: Sequence[torch.nn.Parameter]) -> int:
    """Return how many numbers an optimizer's state has for each of the parameters', rounded up."""
    states = [dict(getattr(each, "state", {})) for each in wrapped(optimizer)]
    # Some share their state with the one that they wrap.
    tensors = {id(tensor): tensor.numel() for tensor in tensors_in(states)}
    # A count of steps is no vector.
    few = 8 * len(parameters)
    return max(
        0, math.ceil((sum(tensors.values()) - few) / sum(each.numel() for each in parameters))
    )


def switches(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether it is evaluated at other parameters than it trains, like schedule-free."""
    return all(callable(getattr(optimizer, mode, None)) for mode in ("train", "eval"))


def takes_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether its `step` accepts a closure."""
    return "closure" in inspect.signature(optimizer.step).parameters


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield every tensor in nested containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)


def _hooks_of(parameter: torch.nn.Parameter) -> bool:
    return bool(
        getattr(parameter, "_backward_hooks", None)
        or getattr(parameter, "_post_accumulate_grad_hooks", None)
    )


def _hooked(make: Make, tried: Sequence[Shapes]) -> str | None:
    """Say that an optimizer works in hooks, which may keep it from making a step without them."""
    for shapes in tried:
        parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
        try:
            with RandomStreams.seeded(0).in_place():
                made = make(parameters)
        except Exception:  # Said where a step is tried.
            continue
        del made
        return _HOOKS if any(map(_hooks_of, parameters)) else None
    return None


def _never_moves(make: Make, run: _Run) -> str | None:
    longer = partial(_Run, make, run.shapes, MANY, still=True, differentiable=run.differentiable)
    if run.moved.any() or longer().moved.any():
        return None
    return (
        f"has moved no parameter in {MANY} steps. It may keep parameters of its own, or write to a "
        "copy. It must change the tensors that it was given."
    )


def _asks_later(make: Make, run: _Run) -> bool:
    """Return whether an optimizer that takes a closure begins to evaluate it after STEPS."""
    try:
        longer = _Run(make, run.shapes, MANY, differentiable=run.differentiable)
    except Exception:  # Where it ends is for the laws to find.
        return False
    return any(longer.counts)


def _needs_gradient(make: Make, run: _Run) -> bool:
    """Return whether an optimizer that evaluates the closure also uses the gradient from before."""
    try:
        bare = _Run(make, run.shapes, FEW, bare=True, differentiable=run.differentiable)
    except Exception:
        return True
    return not torch.equal(bare.path[-1].nan_to_num(), run.path[FEW - 1].nan_to_num())


def _unlike_a_loop(make: Make, run: _Run) -> str | None:
    """Say what would differ from a training loop: from run to run, or where `backward` runs."""
    few = partial(_Run, make, run.shapes, FEW, differentiable=run.differentiable)
    try:
        again = few()
        if not torch.equal(again.path[-1].nan_to_num(), run.path[FEW - 1].nan_to_num()):
            return (
                "does not repeat itself: made anew, it gave other parameters from the same start "
                "and gradients. It may share state between its instances, or draw random numbers "
                "that no seed sets. Keep the state in the instance, and draw from torch's, NumPy's "
                "or Python's global stream, which bench seeds."
            )
        looped = few(backward=True)
    except Exception as error:
        return f"works once, but not as in a training loop: {short(error).rstrip('.')}."
    if not _near(looped.path[-1], run.path[FEW - 1], run):
        return (
            "gives other parameters where backward() computes the gradients than where they are "
            "assigned, as bench does. It may work in hooks, which run in backward(). Write the "
            "update in step()."
        )
    return None


def _near(a: Tensor, b: Tensor, run: _Run) -> bool:
    # NaN in both is for the laws to find.
    return not (a - b).abs().max() > SAME * run.moved.abs().max()


def _fault_of_a_step(make: Make, shapes: Shapes) -> str | None:
    try:
        return _Run(make, shapes, 1).fault
    except Exception:  # Its reason is said.
        return None


def _reason(make: Make, shapes: Shapes, error: Exception) -> str:
    """Say why a step failed; where a loss that can be differentiated helps, that."""
    try:
        _Run(make, shapes, attached=True)
    except Exception:
        return short(error).rstrip(".")
    return (
        "it calls backward() on the loss, and an objective's is a number; the closure has "
        "computed the gradient already"
    )
