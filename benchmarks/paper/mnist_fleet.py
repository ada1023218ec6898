"""Table 1's grid on mnist as one fleet on a GPU: against the eager loop, and against its peaks."""

from __future__ import annotations

import torch

from bench.harness.training.bound_objective import initial_parameters
from bench.harness.training.cases import DeviceData
from bench.models.deep_autoencoders import DeepAutoencoder, mnist
from benchmarks.figures import Figure, Part, rates
from benchmarks.paper.grids import TABLES
from benchmarks.ratios import Timed, interleaved
from benchmarks.updates import plain
from benchmarks.updates.fleets import backends, diverged, grid, images, release, updates
from benchmarks.updates.peaks import BYTES, copy, operations, precision, product, roofline

EAGER = "eager loop, SGD(fused=True), one trial"
GOALS = {"fp32": (7.0, 0.7), "tf32": (20.0, 0.35)}
"""Precision → the speed-up over the eager loop, and the share of the matrix product's rate."""
NAMES = {"fp32": "float32", "tf32": "TF32"}


def measure(smoke: bool, device: torch.device) -> Part:
    """Time an update of the whole grid in both precisions, by both backends."""
    problem = mnist("quick" if smoke else "paper")
    name, data = images(problem, device)
    figures, notes = list[Figure](), list[str]()
    for kind in GOALS:
        with precision(kind):
            more, gone = _in(kind, name, problem, data, smoke)
        figures += more
        notes.append(
            f"{NAMES[kind]}: {gone[0]} of {gone[1]} rows had diverged when the timing ended."
        )
        release(device)
    table = TABLES[1]
    return Part(
        "Table 1's grid on mnist as one fleet",
        figures,
        (
            f"The fleet: {len(table.columns)} columns × {len(table.lrs)} learning rates, one seed, "
            f"so batches of {table.batch} are shared. An update of it is one trial-update a row: "
            "batch, gradient, momentum update, ledger and the check for divergence.",
            "The eager loop: an index batch on the device, nn.Sequential of Linear and Sigmoid, "
            "autograd, torch.optim.SGD(nesterov=True, fused=True), one trial, in the same "
            "precision.",
            "Arithmetic rate: 2 operations a multiply-add of the matrix products, forward 2WB and "
            "backward two products a layer but none for the first layer's inputs; over that of a "
            "large matrix product in the same rounds and precision.",
            f"Roofline: those operations at the matrix product's rate, or {BYTES} bytes a "
            "parameter at the copy's, whichever takes longer; its measured ratio is what of this "
            "bound is reached.",
            *notes,
        ),
        ("numba", "numba-cuda"),
    )


def _in(
    kind: str, name: str, problem: DeepAutoencoder, data: DeviceData, smoke: bool
) -> tuple[list[Figure], tuple[int, int]]:
    """Return the figures in one precision, and how many rows diverged, of how many."""
    table, device = TABLES[1], data.train.inputs.device
    fleets = {
        f"the grid as one fleet, {backend}": grid(problem, data, table, backend)
        for backend in backends(device)
    }
    theta = initial_parameters(problem, [0], device, torch.float32)
    model = plain.sequential(problem, theta)
    eager = plain.loop(model, data.train.inputs[0], table.batch, fused=True)
    multiplied, copied = product(smoke, device), copy(smoke, device)
    candidates = {who: updates(fleet) for who, fleet in fleets.items()}
    candidates |= {EAGER: Timed(eager, 4 if smoke else 100)}
    candidates |= {peak.name: peak.timed for peak in (multiplied, copied)}
    seconds = interleaved(candidates, 3 if smoke else 15, device)
    rows = len(next(iter(fleets.values())).theta)
    case = f"{name}, K = {rows}, B = {table.batch}, {NAMES[kind]}"
    # The one kernel; torch's operations stand beside it.
    *_, best = fleets
    faster, share = GOALS[kind]
    work = rows * operations(problem.architecture, table.batch) / 1e12
    moved = float(rows * BYTES * problem.layout.count)
    bound = [
        roofline(work * 1e12, moved, (multiplied, a), (copied, b))
        for a, b in zip(seconds[multiplied.name], seconds[copied.name], strict=True)
    ]
    ours = (best, seconds[best], work)
    figures = [
        rates(
            case,
            (who, seconds[who], rows),
            (EAGER, seconds[EAGER], 1),
            "trial-updates/s",
            goal=faster if who == best else None,
        )
        for who in fleets
    ]
    peak = (multiplied.name, seconds[multiplied.name], multiplied.work / 1e12)
    figures.append(rates(case, ours, peak, "TFLOP/s", goal=share))
    figures.append(rates(case, ours, ("roofline", bound, work), "TFLOP/s"))
    return figures, (max(map(diverged, fleets.values())), rows)
