"""The same recurrent network as a PyTorch user writes it: a Python loop over time, or nn.RNN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bench.harness.training.case_stream import CaseStream
from bench.models.recurrent import SequenceProblem

Forward = Callable[[Tensor], Tensor]
Network = Callable[[SequenceProblem, Tensor], tuple[Forward, dict[str, nn.Parameter]]]

LOOP = "autograd gradient of a loop over time"
MODULE = "autograd gradient of torch.nn.RNN"
PLAIN_LOOP = (
    "Its loop over time is plain: two products, a sum and tanh a step, and each sequence's last "
    "state is gathered."
)
"""What `loop` is, for the notes of a benchmark on a recurrent network."""


def loop(problem: SequenceProblem, theta: Tensor) -> tuple[Forward, dict[str, nn.Parameter]]:
    """Return inputs (B, S, D + 1) ↦ z (B, O) by one step after another, and its parameters."""
    p = _parameters(problem, theta)

    def forward(inputs: Tensor) -> Tensor:
        h = p["h0"].expand(len(inputs), -1)
        states = []
        for x in inputs[..., :-1].unbind(1):
            h = torch.tanh(x @ p["Wx"] + h @ p["Wh"] + p["bh"])
            states.append(h)
        return _at_end(torch.stack(states), inputs) @ p["Wo"] + p["bo"]

    return forward, p


def module(problem: SequenceProblem, theta: Tensor) -> tuple[Forward, dict[str, nn.Parameter]]:
    """Return the same by torch.nn.RNN, whose second bias is 0 and is not trained."""
    p = _parameters(problem, theta)
    rnn = nn.RNN(problem.network.features, problem.network.units).to(theta)
    *_, second = rnn.parameters()
    with torch.no_grad():
        for mine, name in zip(rnn.parameters(), ("Wx", "Wh", "bh"), strict=False):
            mine.copy_(p.pop(name).t())
        second.zero_().requires_grad_(False)

    def forward(inputs: Tensor) -> Tensor:
        start = p["h0"].expand(1, len(inputs), -1).contiguous()
        states, _ = rnn(inputs[..., :-1].transpose(0, 1), start)
        return _at_end(states, inputs) @ p["Wo"] + p["bo"]

    own = dict(zip(("Wx", "Wh", "bh"), rnn.parameters(), strict=False))
    return forward, {**own, **p}


def half_squared_error(z: Tensor, targets: Tensor) -> Tensor:
    """Return ½ ‖z − t‖², mean over cases."""
    return (z - targets).square().sum() / (2 * len(z))


def gradients(
    problem: SequenceProblem, theta: Tensor, inputs: Tensor, targets: Tensor
) -> dict[str, Callable[[], Sequence[Tensor]]]:
    """Return how autograd computes the gradient, by either network, on inputs (B, S, D + 1)."""

    def of(network: Network) -> Callable[[], Sequence[Tensor]]:
        forward, named = network(problem, theta)
        parameters = list(named.values())
        return lambda: torch.autograd.grad(half_squared_error(forward(inputs), targets), parameters)

    return {LOOP: of(loop), MODULE: of(module)}


def training(
    problem: SequenceProblem, theta: Tensor, batch: int, **options: bool
) -> Callable[[], None]:
    """Return one update after another: new sequences, the loop over time, SGD with Nesterov.

    The sequences come from the same stream as a trial's under seed 0, drawn ahead in blocks like
    those.
    """
    forward, named = loop(problem, theta)
    optimizer = torch.optim.SGD(
        list(named.values()), lr=0.001, momentum=0.9, nesterov=True, **options
    )
    stream = CaseStream(problem.task.draw, 0, "gradient")

    def update() -> None:
        inputs, targets = (torch.from_numpy(each).to(theta) for each in stream.take(batch))
        optimizer.zero_grad()
        half_squared_error(forward(inputs), targets).backward()
        optimizer.step()

    return update


def sequences(problem: SequenceProblem, cases: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return inputs (cases, S, D + 1) and targets (cases, O), in float32."""
    inputs, targets = problem.task.draw(np.random.default_rng(0), cases)
    return torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)


def _parameters(problem: SequenceProblem, theta: Tensor) -> dict[str, nn.Parameter]:
    views: Mapping[str, Tensor] = problem.layout.views(theta[0])
    return {name: nn.Parameter(view.clone()) for name, view in views.items()}


def _at_end(states: Tensor, inputs: Tensor) -> Tensor:
    """Return the state (S, B, n) at the step that the inputs' last channel marks, (B, n)."""
    return states[inputs[..., -1].argmax(1), torch.arange(len(inputs), device=inputs.device)]
