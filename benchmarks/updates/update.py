"""An update of nag by the training loop against plain PyTorch loops, and the step alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from bench.harness.training.bound_objective import initial_parameters
from bench.harness.training.cases import DeviceData
from bench.models.deep_autoencoders import DeepAutoencoder
from bench.models.problem import DataSource
from bench.models.recurrent import SequenceProblem
from bench.optim.momentum.update_cpu import fused_update
from bench.optim.objective import rows
from benchmarks.figures import Figure, Part, figure, thread_counts
from benchmarks.ratios import Timed, interleaved
from benchmarks.updates import plain, plain_rnn
from benchmarks.updates.fleets import fleet_of, load, nags, updates

BATCH = 200
SEQUENCES = 100
OURS = "nag through bench's loop, K = 1"
WHOLE_GOAL = 0.92
RECURRENT_GOAL = 0.75
ALONE_GOAL = 0.6


def measure(smoke: bool, device: torch.device) -> Part:
    """Time whole updates, and the momentum update alone, on 1 and 2 threads."""
    preset, length, rounds = ("quick", 20, 3) if smoke else ("paper", 80, 60)
    problem, data = load(preset, device)
    recurrent = SequenceProblem("add", preset, T=length)
    figures = []
    for threads in thread_counts(smoke, device):
        torch.set_num_threads(threads)
        figures += _whole(problem, data, rounds)
        figures += _recurrent(recurrent, device, rounds)
        if device.type == "cpu":
            for between in (True, False):
                figures += _alone(problem, data, rounds, between)
    return Part(
        "An update with nag",
        figures,
        (
            "A whole update of ours: the next batch, the gradient, the momentum update, the "
            "ledger and the check for divergence. The plain loop: an index batch, nn.Sequential "
            "of Linear and Sigmoid, autograd, torch.optim.SGD(nesterov=True). A round is 4 "
            "updates of each; on a GPU the loop makes more at a time, and they are counted.",
            f"The recurrent network has 100 tanh units. {plain_rnn.PLAIN_LOOP} Both loops draw "
            "their sequences anew, from the same kind of stream: blocks of 1,000 that one thread "
            "draws while the block before is used. A round is 10 updates of each, which use up "
            "one block.",
            "The update alone: our single pass over the flat parameters against "
            "torch.optim.SGD.step on the list of tensors. Between gradients: as in training, each "
            "comes after a gradient by its own means, off the clock; a round is 4 of each. Over "
            "and over: 40 in a row on the same gradient, with all that they touch in the cache. "
            "Both move 20 bytes a parameter. Ours runs on one thread always.",
        ),
    )


def _whole(problem: DeepAutoencoder, data: DeviceData, rounds: int) -> list[Figure]:
    inputs = data.train.inputs[0]
    theta = initial_parameters(problem, [0], inputs.device, inputs.dtype)
    fleet = fleet_of(problem, data, nags([0], inputs.device, batch=BATCH), [0])
    candidates = {OURS: updates(fleet, 4)}
    for kind in ("foreach", "fused"):
        model = plain.sequential(problem, theta)
        call = plain.loop(model, inputs, BATCH, **{kind: True})
        candidates[f"plain loop, SGD({kind}=True)"] = Timed(call, 4)
    case = f"{problem.name}/{problem.preset}, B = {BATCH}"
    return _figures(case, candidates, rounds, inputs.device, {"foreach": WHOLE_GOAL})


def _recurrent(problem: SequenceProblem, device: torch.device, rounds: int) -> list[Figure]:
    data = DeviceData.from_data(problem.data(DataSource(())), device, torch.float32)
    theta = initial_parameters(problem, [0], device, torch.float32)
    fleet = fleet_of(problem, data, nags([0], device, batch=SEQUENCES, lr=0.001), [0])
    candidates = {OURS: updates(fleet, 10)}
    for kind in ("foreach", "fused"):
        call = plain_rnn.training(problem, theta, SEQUENCES, **{kind: True})
        candidates[f"plain loop over time, SGD({kind}=True)"] = Timed(call, 10)
    case = f"{problem.name}/{problem.preset}, T = {problem.task.length}, B = {SEQUENCES}"
    return _figures(case, candidates, rounds, device, {"foreach": RECURRENT_GOAL})


def _alone(problem: DeepAutoencoder, data: DeviceData, rounds: int, between: bool) -> list[Figure]:
    """Time the step alone, either between gradients or over and over on the same ones."""
    x, passes = data.train.inputs[0, :BATCH], problem.passes()
    theta = initial_parameters(problem, [0], x.device, x.dtype)
    v, g = torch.zeros_like(theta), torch.zeros_like(theta)
    lr, mu, look = rows([0.01], theta), rows([0.9], theta), rows([1.0], theta)
    calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "momentum update alone": (
            lambda: fused_update(theta, v, g, lr, mu, mu, look),
            lambda: passes.gradient(theta, x[None], x[None], g),
        )
    }
    for kind in ("foreach", "fused"):
        model = plain.sequential(problem, theta)
        calls[f"SGD({kind}=True).step()"] = plain.step(model, x, **{kind: True})
    for _, gradient in calls.values():
        gradient()
    candidates = {
        name: Timed(call, 4, before=gradient) if between else Timed(call, 40)
        for name, (call, gradient) in calls.items()
    }
    # Ours is serial: what it is held to is a step on one thread.
    goals = {"fused": ALONE_GOAL} if torch.get_num_threads() == 1 else {}
    when = "between gradients" if between else "over and over"
    case = f"{problem.layout.count:,} parameters, {when}"
    return _figures(case, candidates, rounds, x.device, goals)


def _figures(
    case: str,
    candidates: Mapping[str, Timed],
    rounds: int,
    device: torch.device,
    goals: Mapping[str, float],
) -> list[Figure]:
    """Time all in turns; the first is measured against the others, by kind under a goal."""
    seconds = interleaved(candidates, rounds, device)
    ours, *peers = candidates
    return [
        figure(
            case,
            (ours, seconds[ours]),
            (peer, seconds[peer]),
            goal=next((goal for kind, goal in goals.items() if f"({kind}=" in peer), None),
        )
        for peer in peers
    ]
