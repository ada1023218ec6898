"""Whether a torch optimizer takes a network's parameters, and the size of its state for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Layout
from bench.optim.plugins import short
from bench.optim.random_streams import RandomStreams
from bench.optim.route_text import FORM
from bench.optim.torch.parameters import Parameters, taken
from bench.optim.torch.probe import Manner, advance, held_by, switches
from bench.optim.torch.signature import UPDATES

SCALE = 0.02
"""Standard deviation of the parameters and gradients of the step."""


def state_size(
    make: Callable[[Mapping[str, nn.Parameter], Layout, int], torch.optim.Optimizer],
    name: str,
    layout: Layout,
    manner: Manner,
) -> int:
    """Return how many numbers the state has for each of these parameters', after one step.

    UsageError, with the reason, where the optimizer does not take the parameters, leaves some out,
    or cannot make a step.
    """
    theta = torch.zeros(1, layout.size)
    parameters = Parameters(theta, layout)
    draw = torch.Generator().manual_seed(0)
    for view in layout.views(theta).values():
        view.normal_(std=SCALE, generator=draw)
    gradient = theta.flip(1)
    own = list(parameters.named.values())

    def identity(v: Tensor) -> Tensor:
        """Return H v: any Hessian will do."""
        return v

    def closure() -> Any:
        with torch.no_grad():
            parameters.take_flat(gradient, identity if manner.differentiates else None)
        return torch.ones(())

    try:
        with RandomStreams.seeded(0).in_place(), torch.no_grad():
            optimizer = make(parameters.named, layout, UPDATES)
            check_taken(optimizer, parameters, name)
            if switches(optimizer):
                optimizer.train()  # type: ignore[attr-defined]
            with parameters.graphs():
                advance(optimizer, closure, manner)
            parameters.follow(name)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{name} cannot train this network: {short(error).rstrip('.')}. Give it the parameters "
            f"that it is made for, and another optimizer the rest, as in {FORM}."
        ) from error
    return held_by(optimizer, own)


def check_taken(optimizer: torch.optim.Optimizer, parameters: Parameters, name: str) -> None:
    """Raise UsageError for parameters of the network that an optimizer has not taken."""
    there = taken(optimizer)
    missing = [n for n, each in parameters.named.items() if id(each) not in there]
    # Some keep no groups.
    if there and missing:
        raise UsageError(
            f"{name} leaves out {', '.join(missing[:4])}{' and others' if missing[4:] else ''}, so "
            "that a part of the network would not be trained. Put every parameter into a group."
        )
