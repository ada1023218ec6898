"""The same autoencoder as a PyTorch user writes it: nn.Sequential, autograd, torch.optim."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.deep_autoencoders import DeepAutoencoder


def sequential(problem: DeepAutoencoder, theta: Tensor) -> nn.Sequential:
    """Return Linear and Sigmoid layers, the code linear, with the parameters of a row θ, (1, P)."""
    layers: list[nn.Module] = []
    params, shape = problem.layout.views(theta[0]), problem.architecture
    for i in range(1, shape.depth + 1):
        weight = params[f"W{i}"]
        linear = nn.Linear(*weight.shape).to(theta)
        with torch.no_grad():
            linear.weight.copy_(weight.t())
            linear.bias.copy_(params[f"b{i}"])
        layers.append(linear)
        if i not in (shape.code, shape.depth):
            layers.append(nn.Sigmoid())
    return nn.Sequential(*layers)


def cross_entropy(z: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of logits, summed over pixels, mean over cases."""
    return F.binary_cross_entropy_with_logits(z, targets, reduction="sum") / len(z)


def step(
    model: nn.Sequential, inputs: Tensor, **options: bool
) -> tuple[Callable[[], object], Callable[[], None]]:
    """Return SGD's step with Nesterov, and what takes the gradient on these inputs before it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, **options)

    def gradient() -> None:
        optimizer.zero_grad()
        cross_entropy(model(inputs), inputs).backward()

    return optimizer.step, gradient


def loop(model: nn.Sequential, inputs: Tensor, batch: int, **options: bool) -> Callable[[], None]:
    """Return one update after another: shuffled minibatches, autograd, SGD with Nesterov."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, **options)
    order, position = torch.randperm(len(inputs), device=inputs.device), 0

    def update() -> None:
        nonlocal order, position
        if position + batch > len(inputs):
            order, position = torch.randperm(len(inputs), device=inputs.device), 0
        x = inputs[order[position : position + batch]]
        position += batch
        optimizer.zero_grad()
        cross_entropy(model(x), x).backward()
        optimizer.step()

    return update
