"""An update of a torch optimizer by the training loop against a plain PyTorch loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import optim
from bench.harness.training.bound_objective import initial_parameters
from bench.harness.training.cases import DeviceData
from bench.models.from_module import ModuleProblem
from bench.models.losses import SoftmaxCrossEntropy
from bench.models.metrics import squared_error
from bench.models.problem import Data, DataSource, digest_of
from benchmarks.figures import Figure, Part, figure
from benchmarks.ratios import Timed, interleaved
from benchmarks.updates.fleets import fleet_of, updates

CASES, PIXELS, CLASSES, WIDTH = 2_000, 64, 10, 128
BATCH, GOAL = 128, 1.05
TENSORS = 30
OPTIMIZERS = {"AdamW": torch.optim.AdamW, "Muon": torch.optim.Muon}
"""Muon takes matrices alone, so its network has 30 layers without biases."""


def measure(smoke: bool, device: torch.device) -> Part:
    """Time whole updates of AdamW and Muon on a network of 30 tensors."""
    torch.set_num_threads(1)
    figures = [_update(name, 3 if smoke else 200, device) for name in OPTIMIZERS]
    return Part(
        "An update of a torch optimizer",
        figures,
        (
            f"A network of {TENSORS} tensors and tanh units, {PIXELS}–{WIDTH}–…–{CLASSES}, on "
            f"{CASES:,} random cases, B = {BATCH}: 15 layers with biases for AdamW, 30 layers "
            "without for Muon.",
            "Ours: the next batch, the module with θ as its parameters, its gradient by autograd, "
            "the optimizer on views of θ, the ledger, and the check for divergence. "
            "The plain loop: an index batch, the module, backward(), step(), zero_grad(). A round "
            "is 10 updates of each.",
        ),
    )


def network(biases: bool) -> nn.Sequential:
    """Return layers of 128 units with 30 parameters in all."""
    count = TENSORS // 2 if biases else TENSORS
    sizes = [PIXELS, *[WIDTH] * (count - 1), CLASSES]
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(fan_in, fan_out, bias=biases), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def cases(source: DataSource) -> Data:
    """Return random cases."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((CASES, PIXELS)).astype(np.float32)
    t = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, CASES)]
    parts = x, x[:100], t, t[:100]
    return Data("random cases", digest_of(*parts), *parts)


def problem(biases: bool) -> ModuleProblem:
    """Return the network as a problem."""
    loss = SoftmaxCrossEntropy()
    return ModuleProblem(
        *("layers", "quick", lambda: network(biases), loss, squared_error(loss), cases),
        budget=1_000,
        targets=(0.1,),
    )


def plain_loop(
    module: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor
) -> Callable[[], None]:
    """Return one update after another: shuffled minibatches, autograd, the optimizer's step."""
    order, position = torch.randperm(len(inputs)), 0

    def update() -> None:
        nonlocal order, position
        if position + BATCH > len(inputs):
            order, position = torch.randperm(len(inputs)), 0
        some = order[position : position + BATCH]
        position += BATCH
        optimizer.zero_grad()
        F.cross_entropy(module(inputs[some]), targets[some]).backward()
        optimizer.step()

    return update


def _update(name: str, rounds: int, device: torch.device) -> Figure:
    biases = name != "Muon"
    ours = problem(biases)
    data = DeviceData.from_data(ours.data(DataSource(())), device, torch.float32)
    method = optim.resolve(f"torch.optim.{name}[batch={BATCH},lr=1e-3]")
    theta = initial_parameters(ours, [0], device, torch.float32)
    module = network(biases).to(device)
    with torch.no_grad():
        views = ours.layout.views(theta[0])
        for each_name, each in module.named_parameters():
            each.copy_(views[each_name])
    optimizer = OPTIMIZERS[name](module.parameters(), lr=1e-3)
    x, t = data.train.inputs[0], data.train.targets[0]
    candidates = {
        f"torch.optim.{name} through bench's loop": updates(
            fleet_of(ours, data, [method], [0]), 10
        ),
        "plain loop": Timed(plain_loop(module, optimizer, x, t), 10),
    }
    seconds = interleaved(candidates, rounds, device)
    (first, mine), (peer, theirs) = seconds.items()
    case = f"{name}, {ours.layout.count:,} parameters in {TENSORS} tensors, B = {BATCH}"
    return figure(case, (first, mine), (peer, theirs), goal=GOAL)
