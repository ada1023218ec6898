"""A network's parameters as a torch optimizer gets them: views of a row of θ, with their shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Curvature, Layout
from bench.optim.torch.gradient_graph import differentiable

LOST = (
    "puts other tensors into its param_groups than it was given, so the parameters of a network "
    "would stay where they are. Change the given parameters."
)


class Parameters:
    """The parameters that an optimizer changes, and θ, which has their values.

    θ has their memory as long as the optimizer changes them in place. Once it has assigned other
    memory to one, θ is a copy of them; and it is one from the beginning where θ has a matrix the
    other way round, since optimizers may count on parameters whose numbers lie in a row.
    """

    def __init__(
        self, theta: Float[Tensor, "1 P"], layout: Layout | None, torchs_own: bool = False
    ) -> None:
        self.theta = theta
        self.torchs_own = torchs_own
        """Whether only torch's own optimizers change them, which give none other memory."""
        self._layout = layout
        views = self._views(theta)
        first = theta.storage_offset()
        # One operation for each; as views of views of views they would take three.
        self._strides = [(v.shape, v.stride(), v.storage_offset() - first) for v in views.values()]
        self._apart = not all(view.is_contiguous() for view in views.values())
        """Whether θ is a copy."""
        if self._apart:
            views = {
                name: view.clone(memory_format=torch.contiguous_format)
                for name, view in views.items()
            }
        self.named = {name: nn.Parameter(view) for name, view in views.items()}
        self._own = list(self.named.values())
        self._home = [each.data_ptr() for each in self._own]
        self._theta_views: tuple[int, list[Tensor]] = 0, []

    def take(self, parts: Sequence[Tensor]) -> None:
        """Give every parameter its part of a gradient, which nobody else has.

        Some optimizers write over a gradient, and some keep it for a later step.
        """
        for each, part in zip(self._own, parts, strict=True):
            try:
                each.grad = part
            except RuntimeError:
                # The optimizer has given its parameter another shape.
                each.grad = part.view(each.shape)

    def take_flat(self, gradient: Float[Tensor, "1 P"], product: Curvature | None = None) -> None:
        """Give every parameter a copy of its part of a gradient.

        With the Hessian `product` at this point it can be differentiated, within `graphs`.
        """
        parts: Sequence[Tensor] = self._parts(gradient.clone())
        if product is not None:
            own = [part.clone() for part in parts]
            parts = differentiable(own, self._own, partial(self._along, product))
        self.take(parts)

    @contextmanager
    def graphs(self) -> Iterator[None]:
        """Within it gradients may have graphs, and after it they are numbers."""
        try:
            # The objective is asked in this thread alone, also where autograd asks it.
            with torch.autograd.set_multithreading_enabled(False):
                yield
        finally:
            # A gradient with a graph and its parameter hold each other, and would never go.
            for each in self._own:
                if each.grad is not None:
                    each.grad = each.grad.detach()

    def _along(self, product: Curvature, z: Sequence[Tensor]) -> list[Tensor]:
        """Return the parts of H z."""
        v = torch.zeros_like(self.theta)
        for each, place in zip(z, self._strides, strict=True):
            v.as_strided(*place).copy_(each.view(place[0]))
        return self._parts(product(v).clone())

    def _parts(self, flat: Float[Tensor, "1 P"]) -> list[Tensor]:
        """Return what every parameter has of a vector, with its shape; most are views of it."""
        parts = [flat.as_strided(*place).contiguous() for place in self._strides]
        pairs = zip(parts, self._own, strict=True)
        return [part if each.shape == part.shape else part.view(each.shape) for part, each in pairs]

    def point(self) -> Float[Tensor, "1 P"]:
        """Return where the parameters are: θ itself while they are views of it, or else a copy."""
        if not self._apart and self._at_home:
            return self.theta
        at = torch.zeros_like(self.theta)
        self._copy_to(at)
        return at

    def follow(self, kind: str) -> None:
        """Put θ where an optimizer has put the parameters; UsageError where that is no θ."""
        if not self._apart and (self.torchs_own or self._at_home):
            return
        if changed := self._changed():
            raise UsageError(f"{kind} {changed}")
        if self._apart:
            self._copy_to(self.theta)
            return
        # The optimizer may keep the memory that it has left, with θ as it was before.
        at = torch.zeros_like(self.theta)
        self._copy_to(at)
        self.theta.data = at
        self._apart = True

    def rewind(self) -> None:
        """Put the parameters where θ is: a step was undone, or a saved θ was read."""
        if not self._apart and self._at_home:
            return
        for each, view in zip(self._own, self._views(self.theta).values(), strict=True):
            try:
                # In its own memory, which the optimizer may hold too.
                each.data.copy_(view)
            except RuntimeError:
                # The optimizer has given it another shape, or the same number in several places.
                each.data = view.clone(memory_format=torch.contiguous_format)

    def places(self) -> list[Tensor]:
        """Return the memory of every parameter, for `restore`."""
        return [each.data for each in self._own]

    def restore(self, places: Iterable[Tensor], values: Iterable[Tensor]) -> None:
        """Give every parameter the memory and the values back that it had."""
        for each, place, value in zip(self._own, places, values, strict=True):
            each.data = place
            each.data.copy_(value)

    def whole(self, parts: Mapping[Tensor, Tensor]) -> Float[Tensor, "1 P"]:
        """Return θ with other values for some of the parameters, as a new tensor."""
        at = self.point().clone()
        for each, view in zip(self._own, self._views(at).values(), strict=True):
            if each in parts:
                view.copy_(parts[each].detach().view(view.shape))
        return at

    @property
    def _at_home(self) -> bool:
        return [each.data_ptr() for each in self._own] == self._home

    def _copy_to(self, row: Float[Tensor, "1 P"]) -> None:
        place, views = self._theta_views
        if row.data_ptr() != place:
            views = list(self._views(row).values())
            if row is self.theta:
                self._theta_views = row.data_ptr(), views
        torch._foreach_copy_(
            views, [e.detach().reshape(v.shape) for e, v in zip(self._own, views, strict=True)]
        )

    def _changed(self) -> str | None:
        """Say which parameter has another type or size than it was given with."""
        views = self._views(self.theta)
        for each, (name, view) in zip(self._own, views.items(), strict=True):
            if each.dtype != view.dtype or each.numel() != view.numel():
                return (
                    f"turns parameter {name} of type {view.dtype} and shape {tuple(view.shape)} "
                    f"into {each.dtype} and {tuple(each.shape)}. An optimizer must keep type and "
                    "shape."
                )
        return None

    def _views(self, row: Float[Tensor, "1 P"]) -> dict[str, Tensor]:
        return {"θ": row[0]} if self._layout is None else self._layout.parameters(row[0])


def copies(layout: Layout) -> int:
    """Return how many tensors of θ's size there are beside it where it is a copy, at most.

    They are the parameters, the point of a gradient, and the gradient in the parameters' order.
    """
    views = layout.parameters(torch.empty(layout.size, device="meta")).values()
    return 0 if all(view.is_contiguous() for view in views) else 3


def taken(optimizer: torch.optim.Optimizer) -> Set[int]:
    """Return the `id` of every parameter in the groups of an optimizer and of those in it."""
    # A wrapper may have no groups.
    groups = [group for each in wrapped(optimizer) for group in getattr(each, "param_groups", [])]
    return {id(each) for group in groups for each in group["params"]}


def wrapped(optimizer: torch.optim.Optimizer) -> Iterator[torch.optim.Optimizer]:
    """Yield an optimizer and, one after another, those that it is made of, each once."""
    found: list[torch.optim.Optimizer] = [optimizer]
    # The list grows meanwhile. An inner one may know the one around it.
    for each in found:
        yield each
        for held in vars(each).values():
            for one in held if isinstance(held, list | tuple) else [held]:
                if isinstance(one, torch.optim.Optimizer) and all(one is not f for f in found):
                    found.append(one)
