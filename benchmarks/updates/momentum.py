"""The momentum update of one kernel on a GPU against a copy, torch's operations and SGD."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from bench.harness.training.cuda_graph import can_capture, capture
from bench.models.deep_autoencoders import mnist
from bench.optim.momentum.methods import torch_update
from benchmarks.figures import Figure, Part, figure, rates
from benchmarks.ratios import Timed, interleaved
from benchmarks.updates.fleets import backends
from benchmarks.updates.peaks import Peak, copy

ROWS = 36
"""Of mnist/paper: a hundred million values, and each of three tensors far above any cache."""
SMALL = 1_000_000
BYTES = 20
"""A value: g, v and y are read, v and y written."""
BANDWIDTH_GOAL = 0.9
STEP_GOAL = 1.0
IN_A_ROW = 10


def measure(smoke: bool, device: torch.device) -> Part:
    """Time the update of 1 and of 100 million values by every means."""
    sizes = ((2, 1_000), (1, 100)) if smoke else ((ROWS, mnist("paper").layout.size), (1, SMALL))
    rounds = 3 if smoke else 20
    figures = [
        *_at(*sizes[0], copy(smoke, device), rounds, device),
        *_at(*sizes[1], None, rounds, device),
    ]
    return Part(
        "The momentum update on a GPU",
        figures,
        (
            f"Share of the copy's bandwidth: {BYTES} bytes a value (gradient, velocity and "
            "look-ahead point read, the latter two written), all values random, each of the three "
            "tensors far larger than the cache. The copy's bytes are those read and those written.",
            "SGD: torch.optim.SGD(momentum=0.9, nesterov=True, fused=True).step() on one tensor "
            "of as many values, its best case. It moves as many bytes.",
            f"Every candidate is {IN_A_ROW} updates captured in a CUDA graph, as the training loop "
            "runs ours: launches from Python would be most of the time at a million values, and "
            "would favour ours.",
        ),
        ("numba", "numba-cuda"),
    )


def _at(
    rows: int, width: int, peak: Peak | None, rounds: int, device: torch.device
) -> list[Figure]:
    name, update = _kernel(device)
    ours, torchs = (f"momentum update, {each}" for each in (name, "torch"))
    peer = "SGD(fused=True).step()"
    candidates = {
        ours: _turns(_update(update, rows, width, device), device),
        torchs: _turns(_update(torch_update, rows, width, device), device),
        peer: _turns(_sgd(rows * width, device), device),
    }
    if peak is not None:
        candidates[peak.name] = peak.timed
    seconds = interleaved(candidates, rounds, device)
    case = f"{rows * width:,} values"
    figures = [
        figure(case, (ours, seconds[ours]), (peer, seconds[peer]), goal=STEP_GOAL),
        figure(case, (ours, seconds[ours]), (torchs, seconds[torchs])),
    ]
    if peak is not None:
        work = BYTES * rows * width / 1e9
        share = rates(
            case,
            (ours, seconds[ours], work),
            (peak.name, seconds[peak.name], peak.work / 1e9),
            "GB/s",
            goal=BANDWIDTH_GOAL,
        )
        figures.insert(0, share)
    return figures


def _kernel(device: torch.device) -> tuple[str, Callable[..., None]]:
    """Return the backend of one kernel for this device, and its update."""
    _, name = backends(device)
    if name == "numba-cuda":
        from bench.optim.momentum import update_cuda as backend

        backend.compile_for(torch.zeros(1, 1, device=device))
    else:
        from bench.optim.momentum import update_cpu as backend  # type: ignore[no-redef]
    return name, backend.fused_update


def _update(
    update: Callable[..., None], rows: int, width: int, device: torch.device
) -> Callable[[], None]:
    y, v, g = (torch.randn(rows, width, device=device) for _ in range(3))
    # Torch's operations write over g; with μ = 1 no value dies away, however often they are made.
    lr, one = (torch.full((rows, 1), each, device=device) for each in (1e-3, 1.0))
    return lambda: update(y, v, g, lr, one, one, one)


def _sgd(values: int, device: torch.device) -> Callable[[], object]:
    parameter = torch.nn.Parameter(torch.randn(values, device=device))
    parameter.grad = torch.randn(values, device=device)
    return torch.optim.SGD([parameter], lr=1e-3, momentum=0.9, nesterov=True, fused=True).step


def _turns(call: Callable[[], object], device: torch.device) -> Timed:
    """Return IN_A_ROW calls in a row, as one graph where there are graphs."""
    if not can_capture(device):
        return Timed(call, IN_A_ROW)
    call()

    def several() -> None:
        for _ in range(IN_A_ROW):
            call()

    return Timed(partial(_again, capture(several), several), 1, IN_A_ROW)


def _again(replay: Callable[[], None], captured: Callable[[], None]) -> None:
    """Replay; what was captured is kept, since a replay uses its memory."""
    replay()
