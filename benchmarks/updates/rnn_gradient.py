"""The gradient of a recurrent network by hand against autograd, and K rows at once against one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.harness.training.bound_objective import initial_parameters
from bench.models.recurrent import SequenceProblem
from benchmarks.figures import Figure, Part, figure, thread_counts
from benchmarks.ratios import Timed, interleaved
from benchmarks.updates.plain_rnn import LOOP, MODULE, PLAIN_LOOP, gradients, sequences

ROWS = 16
ONE = "gradient by hand"
TOGETHER = f"gradient by hand of K = {ROWS}, a row"
SEQUENCES = 100, 4
GOAL = 0.8
"""By hand it is to take at most this much of the plain loop's time."""


def measure(smoke: bool, device: torch.device) -> Part:
    """Time the gradient of one row and of 16 by hand, and that of one by autograd."""
    preset, length, rounds = ("quick", 20, 3) if smoke else ("paper", 80, 40)
    problem = SequenceProblem("add", preset, T=length)
    figures = []
    for threads in thread_counts(smoke, device):
        torch.set_num_threads(threads)
        for batch in SEQUENCES:
            figures += _at(problem, batch, device, rounds)
    return Part(
        "The gradient of a recurrent network",
        figures,
        (
            f"The network has 100 tanh units. {PLAIN_LOOP} Loss and gradient are on the same "
            f"sequences for all. A round is 4 gradients of each, and one of K = {ROWS} rows.",
            f"K = {ROWS}: the seconds of the gradient of {ROWS} rows, each with parameters and "
            f"sequences of its own, divided by {ROWS}; below 1 they are cheaper together.",
        ),
    )


def calls(
    problem: SequenceProblem, batch: int, device: torch.device
) -> dict[str, Callable[[], Tensor | Sequence[Tensor]]]:
    """Return what is timed, each as what returns its gradient; the first row is the same in all."""
    theta = initial_parameters(problem, list(range(ROWS)), device, torch.float32)
    inputs, targets = (
        each.unflatten(0, (ROWS, batch)) for each in sequences(problem, ROWS * batch, device)
    )

    def by_hand(rows: int) -> Callable[[], Tensor]:
        passes, out = problem.passes(), torch.zeros_like(theta[:rows])

        def gradient() -> Tensor:
            passes.gradient(theta[:rows], inputs[:rows], targets[:rows], out)
            return out

        return gradient

    autograd = gradients(problem, theta, inputs[0], targets[0])
    return {ONE: by_hand(1), **autograd, TOGETHER: by_hand(ROWS)}


def _at(problem: SequenceProblem, batch: int, device: torch.device, rounds: int) -> list[Figure]:
    candidates = {
        name: Timed(call, 1 if name == TOGETHER else 4)
        for name, call in calls(problem, batch, device).items()
    }
    seconds = interleaved(candidates, rounds, device)
    case = f"{problem.name}/{problem.preset}, T = {problem.task.length}, B = {batch}"
    row = [each / ROWS for each in seconds[TOGETHER]]
    return [
        figure(case, (ONE, seconds[ONE]), (LOOP, seconds[LOOP]), goal=GOAL),
        figure(case, (ONE, seconds[ONE]), (MODULE, seconds[MODULE])),
        figure(case, (TOGETHER, row), (ONE, seconds[ONE])),
    ]
