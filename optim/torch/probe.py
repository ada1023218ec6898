"""Find out whether a torch optimizer can be used, from a few steps on twelve numbers.

θ is one flat tensor. An optimizer that moves each number by its own gradient, or by sums over
all of them, does not see that; one that looks at a layer at a time, at the rows of a matrix or
at how many axes a tensor has would be another method than its authors mean. So it is run twice,
on twelve numbers as one row and on the same numbers as a matrix and a vector.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.optim.hyperparameters import UsageError
from bench.optim.plugins import short

Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]

NUMBERS = 12
FLAT: tuple[tuple[int, ...], ...] = ((1, NUMBERS),)
CUT: tuple[tuple[int, ...], ...] = ((2, 3), (6,))
STEPS = 10
SAME = 1e-3
"""Of how far the numbers have moved: what another order of summation in float32 explains."""


@dataclass(frozen=True)
class Manner:
    """How an optimizer's step obtains gradients, and the size of its state."""

    by_closure: bool
    """Whether it evaluates the given closure, and so needs no gradient before the step."""
    once: bool
    """Whether a step takes one gradient always; where it took more, it may take others later."""
    held: int
    """Tensors of the parameter's size in its state."""


def manner_of(make: Make, name: str) -> Manner:
    """Return how the optimizer works that `make` makes.

    UsageError, with the reason, where it cannot make a step on a flat θ, or where the step
    depends on how the numbers are cut into tensors. One that draws random numbers is not asked
    that: it draws others for other tensors.
    """
    try:
        flat = _Run(make, FLAT)
    except Exception as error:
        raise UsageError(
            f"{name} cannot make a step on a flat θ: {_reason(make, error)}."
        ) from error
    if not flat.draws and not _alike(flat, make):
        raise UsageError(
            f"{name} depends on the shapes of the parameter tensors, but θ is one flat tensor, on "
            "which it would be a different method. Use an optimizer that updates each number from "
            "its own gradient, such as torch.optim.AdamW."
        )
    return flat.manner


@dataclass
class _Run:
    """STEPS steps on ½ Σ d (θ − m)², where m moves from step to step so that none ends at rest."""

    make: Make
    shapes: tuple[tuple[int, ...], ...]
    differentiable: bool = False
    """Whether gradients can be differentiated again."""
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        start = torch.linspace(-1, 2, NUMBERS)
        sizes = [torch.Size(shape).numel() for shape in self.shapes]
        parts = zip(start.split(sizes), self.shapes, strict=True)
        self.parameters = [torch.nn.Parameter(part.clone().view(shape)) for part, shape in parts]
        with torch.random.fork_rng(devices=[]):
            random = torch.get_rng_state()
            self.optimizer = self.make(self.parameters)
            if switches(self.optimizer):
                self.optimizer.train()  # type: ignore[attr-defined]
            for number in range(STEPS):
                self._step(number)
            self.draws = not torch.equal(random, torch.get_rng_state())
        self.moved = self._flat() - start

    @property
    def manner(self) -> Manner:
        """What was seen."""
        state = tensors_in(self.optimizer.state.get(self.parameters[0], {}))
        return Manner(
            by_closure=min(self.counts) > 0,
            once=max(self.counts) <= 1,
            held=sum(tensor.numel() == NUMBERS for tensor in state),
        )

    def _step(self, number: int) -> None:
        asked = 0

        def gradient() -> Tensor:
            with torch.enable_grad():
                away = self._flat() - torch.sin(torch.arange(NUMBERS) + number)
                loss = 0.5 * (torch.linspace(0.5, 2, NUMBERS) * away * away).sum()
            found = torch.autograd.grad(loss, self.parameters, create_graph=self.differentiable)
            for parameter, each in zip(self.parameters, found, strict=True):
                parameter.grad = each
            return loss.detach()

        def closure() -> Any:
            nonlocal asked
            asked += 1
            return gradient()

        gradient()
        with torch.no_grad():
            self.optimizer.step(**({"closure": closure} if takes_closure(self.optimizer) else {}))
        self.counts.append(asked)

    def _flat(self) -> Tensor:
        return torch.cat([parameter.view(-1) for parameter in self.parameters])


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


def _alike(flat: _Run, make: Make) -> bool:
    try:
        cut = _Run(make, CUT)
    except Exception:  # It takes matrices alone, say.
        return False
    off = (cut.moved - flat.moved).abs().max()
    # NaN in both is for the laws to find.
    return not off > SAME * flat.moved.abs().max()


def _reason(make: Make, error: Exception) -> str:
    """Say why a step failed; where gradients that can be differentiated help, that is why."""
    try:
        _Run(make, FLAT, differentiable=True)
    except Exception:
        return short(error).rstrip(".")
    return "it differentiates gradients again (create_graph=True), and an objective's are numbers"
