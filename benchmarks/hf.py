"""One Gauss–Newton product, its set-up spread over a CG run, in units of one gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.figures import NOT_INSTALLED, Figure, Part, figure, installed, thread_counts
from benchmarks.fleets import load
from benchmarks.gauss_newton import OURS, products
from benchmarks.plain import cross_entropy, sequential
from benchmarks.ratios import Timed, interleaved
from harness.binding import initial_parameters
from models.deep_autoencoders import DeepAutoencoder

SPREAD_OVER = 30
GRADIENT = "autograd gradient of nn.Sequential"
PEERS = ("backpack-for-pytorch", "curvlinops-for-pytorch")
GOAL_AT, GOAL = 1000, 1.25


def measure(smoke: bool, device: torch.device) -> Part:
    """Time set-up, product and gradient at each batch size."""
    preset, sizes, rounds = ("quick", (100,), 3) if smoke else ("paper", (1000, 100), 25)
    problem, data = load(preset, device)
    theta = initial_parameters(problem, [0], device, torch.float32)
    figures = []
    for threads in thread_counts(smoke, device):
        torch.set_num_threads(threads)
        for batch in sizes:
            figures += _at(problem, theta, data.train.inputs[0, :batch], rounds)
    missing = [name for name in PEERS if installed(name) == NOT_INSTALLED]
    return Part(
        "A Gauss–Newton product",
        figures,
        (
            f"Seconds are those of one product plus 1/{SPREAD_OVER} of the linearisation at θ, "
            "which a CG run makes once; the unit is one forward and backward pass of "
            "nn.Sequential through autograd on the same cases. A round is one linearisation, "
            "3 products and 2 gradients.",
            *(f"{name}: {NOT_INSTALLED}." for name in missing),
        ),
        PEERS,
    )


def _at(problem: DeepAutoencoder, theta: Tensor, inputs: Tensor, rounds: int) -> list[Figure]:
    v = torch.zeros_like(theta)
    for view in problem.layout.views(v).values():
        view.normal_(generator=torch.Generator(theta.device).manual_seed(0))
    model = sequential(problem, theta)
    parameters = list(model.parameters())

    def gradient() -> object:
        return torch.autograd.grad(cross_entropy(model(inputs), inputs), parameters)

    means = products(problem, theta, inputs, v)
    candidates = {GRADIENT: Timed(gradient, 2)}
    for name, linearize in means.items():
        candidates[f"set-up: {name}"] = Timed(linearize)
        candidates[name] = Timed(linearize(), 3)
    seconds = interleaved(candidates, rounds, theta.device)
    return [
        figure(
            f"{problem.name}/{problem.preset}, B = {len(inputs)}",
            (
                name,
                [
                    product + setup / SPREAD_OVER
                    for product, setup in zip(
                        seconds[name], seconds[f"set-up: {name}"], strict=True
                    )
                ],
            ),
            (GRADIENT, seconds[GRADIENT]),
            goal=GOAL if name == OURS and len(inputs) == GOAL_AT else None,
        )
        for name in means
    ]
