"""A nag update of the training loop against a plain PyTorch loop."""

from __future__ import annotations

import torch

from benchmarks import plain
from benchmarks.figures import Figure, Part, figure, thread_counts
from benchmarks.fleets import load, stepper
from benchmarks.ratios import Timed, interleaved
from harness.binding import DeviceData, initial_parameters
from models.deep_autoencoders import DeepAutoencoder
from optim.momentum import torch_update
from optim.momentum_cpu import fused_update

BATCH = 200
OURS = "nag through bench's loop, K = 1"


def measure(smoke: bool, device: torch.device) -> Part:
    """Time whole updates, and the momentum update alone, on 1 and 2 threads."""
    preset, rounds = ("quick", 3) if smoke else ("paper", 60)
    problem, data = load(preset, device)
    figures = []
    for threads in thread_counts(smoke, device):
        torch.set_num_threads(threads)
        figures += _whole(problem, data, rounds)
        figures += _alone(problem, device, rounds)
    return Part(
        "An update with nag",
        figures,
        (
            "A whole update of ours: the next batch, the gradient, the momentum update, the "
            "ledger and the check for divergence. The plain loop: an index batch, nn.Sequential "
            "of Linear and Sigmoid, autograd, torch.optim.SGD(nesterov=True). A round is 4 "
            "updates of each.",
            "The update alone: our single pass over the flat parameters against "
            "torch.optim.SGD.step on the list of tensors, gradients given. A round is 40 of "
            "each. Ours runs on one thread always.",
        ),
    )


def _whole(problem: DeepAutoencoder, data: DeviceData, rounds: int) -> list[Figure]:
    inputs = data.train.inputs[0]
    theta = initial_parameters(problem, [0], inputs.device, inputs.dtype)
    peers = {f"plain loop, SGD({kind}=True)": {kind: True} for kind in ("foreach", "fused")}
    calls = {OURS: stepper(problem, data, BATCH, [0])}
    for name, options in peers.items():
        calls[name] = plain.loop(plain.sequential(problem, theta), inputs, BATCH, **options)
    seconds = interleaved({name: Timed(call, 4) for name, call in calls.items()}, rounds,
                          inputs.device)  # fmt: skip
    return [
        figure(
            f"{problem.name}/{problem.preset}, B = {BATCH}",
            (OURS, seconds[OURS]),
            (name, seconds[name]),
            goal=1.0 if "foreach" in options else None,
        )
        for name, options in peers.items()
    ]


def _alone(problem: DeepAutoencoder, device: torch.device, rounds: int) -> list[Figure]:
    theta = initial_parameters(problem, [0], device, torch.float32)
    v, y, g = torch.zeros_like(theta), theta.clone(), torch.full_like(theta, 1e-3)
    lr, mu = torch.full((1, 1), 0.01, device=device), torch.full((1, 1), 0.9, device=device)
    fused = fused_update if device.type == "cpu" else torch_update
    ours = "momentum update alone"
    calls = {ours: Timed(lambda: fused(theta, v, y, g, lr, mu, mu), 40)}
    peers = [f"SGD({kind}=True).step()" for kind in ("foreach", "fused")]
    for name, kind in zip(peers, ("foreach", "fused"), strict=True):
        parameters = list(plain.sequential(problem, theta).parameters())
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, 1e-3)
        optimizer = torch.optim.SGD(
            parameters, lr=0.01, momentum=0.9, nesterov=True, **{kind: True}
        )
        calls[name] = Timed(optimizer.step, 40)
    seconds = interleaved(calls, rounds, device)
    return [
        figure(f"{problem.layout.count:,} parameters", (ours, seconds[ours]), (name, seconds[name]))
        for name in peers
    ]
