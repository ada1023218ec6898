"""The time of an update relative to a reference kernel, so that a slower machine is no finding.

Seconds drift with other work on a machine. A kernel that never changes, timed alternately with the
methods, drifts with them, so their ratio stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from bench.harness.core.spec import Budget
from bench.harness.nightly.suite import TimePlan
from bench.harness.planning.fleets import label_methods
from bench.harness.planning.preparation import PreparedRequest
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet
from bench.harness.training.ledger import Clock
from bench.optim.objective import Method

Block = Callable[[], float]
"""Does a fixed amount of work and returns its seconds per update or per pass of the kernel."""

KERNEL = "kernel 1"
"""The name of the kernel's definition. A new definition needs a new name, so that it begins a new
series."""
CASES = 128
"""Rows of the kernel's matrix products."""
WORK = {"cpu": 4e9, "cuda": 4e12}
"""Floating-point operations of a block of the kernel: about 50 ms, much longer than a tick."""
CALL = 2e5
"""The overhead of a call, in operations: a small operation takes as long as its call."""
WARM_UP = 2
"""Updates before the clock starts, in which libraries initialise and a GPU's graph is captured."""
SEED = 0


def time_metric_name(plan: TimePlan) -> str:
    """Return the metric name of a time; it has the repetitions, because they change the scatter."""
    return f"update / {KERNEL}, {plan.blocks} blocks of {plan.updates}"


def night_times(prepared: PreparedRequest, plan: TimePlan) -> dict[str, float]:
    """Measure the methods of a comparison once; return by label the value that a night records.

    It is the median over blocks of log(seconds per update / seconds per pass of the kernel). So it
    is robust even if other work on the machine disturbs almost half of the blocks.
    """
    logs = relative_times(make_kernel(prepared), make_blocks(prepared, plan.updates), plan.blocks)
    return {label: float(np.median(values)) for label, values in logs.items()}


def relative_times(
    kernel: Block, methods: Mapping[str, Block], blocks: int
) -> dict[str, list[float]]:
    """Return for each method log(seconds of its block / seconds of the kernel), block by block.

    Methods alternate, and each round begins with another one. The kernel runs before and after
    every block. The geometric mean of its two times counts, so that a steady drift cancels.
    """
    logs: dict[str, list[float]] = {label: [] for label in methods}
    labels = list(methods)
    # Libraries initialise at their first use.
    kernel()
    before = math.log(kernel())
    for number in range(blocks):
        first = number % len(labels)
        for label in labels[first:] + labels[:first]:
            update = math.log(methods[label]())
            after = math.log(kernel())
            logs[label].append(update - (before + after) / 2)
            before = after
    return logs


def make_blocks(prepared: PreparedRequest, updates: int) -> dict[str, Block]:
    """Return for each method of a comparison a block that times `updates` updates of one trial.

    Each block trains a new fleet from the same initial parameters, so all blocks make the same
    updates. The training clock excludes evaluation.
    """
    machine = prepared.machine
    tensors = DeviceData.from_data(prepared.data, machine.device, machine.dtype)

    def block(label: str, method: Method) -> Block:
        return lambda: _seconds_of_an_update(prepared, tensors, label, method, updates)

    return {each.label: block(each.label, each.method) for each in label_methods(prepared.methods)}


@torch.no_grad()
def _seconds_of_an_update(
    prepared: PreparedRequest, tensors: DeviceData, label: str, method: Method, updates: int
) -> float:
    end = WARM_UP + updates
    # Not the trial's budget, which may end before that.
    budget = Budget("updates", float(end))
    fleet = Fleet(prepared.problem, tensors, method, [SEED], budget, prepared.problem.evaluations)
    account = fleet.account
    while account.updates < WARM_UP:
        fleet.advance(WARM_UP)
    account.clock.start()
    while account.updates < end:
        fleet.advance(end)
    account.clock.stop()
    return account.clock.seconds / updates


def make_kernel(prepared: PreparedRequest) -> Block:
    """Return the reference kernel of a problem: a fixed amount of work that resembles an update.

    For every weight matrix of the problem's layout, a pass computes the products with CASES rows
    of a forward and a backward pass, and then v ← v/2 + g/2 over P numbers. It uses nothing of
    optim/ or models/ except the layout, so a slower update there changes the ratio.
    """
    layout, machine = prepared.problem.layout, prepared.machine
    gradient = torch.ones(layout.size, device=machine.device, dtype=machine.dtype)
    velocity = gradient.clone()
    views = layout.views(gradient / layout.size).values()
    products = [_product(view.flatten(1)) for view in views if view.ndim > 1]
    operations = sum(6 * CASES * w.numel() + 3 * CALL for w, _, _ in products)
    passes = math.ceil(WORK[machine.device.type] / (operations + 4 * layout.size + 2 * CALL))

    @torch.no_grad()
    def run() -> float:
        clock = Clock(machine.device)
        clock.start()
        for _ in range(passes):
            for weights, inputs, outputs in products:
                inputs @ weights
                outputs @ weights.T
                inputs.T @ outputs
            velocity.mul_(0.5).add_(gradient, alpha=0.5)
        clock.stop()
        return clock.seconds / passes

    return run


def _product(weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a weight matrix with rows of inputs and of outputs for it."""
    inputs, outputs = (weights.new_ones(CASES, size) for size in weights.shape)
    return weights, inputs, outputs
