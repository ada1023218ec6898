"""The time of an update, measured beside a reference kernel, so that a slower machine is no news.

Seconds drift with whatever else a machine does. A kernel that never changes, timed in turn with the
methods, drifts with them; the ratio stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from bench.harness.core.spec import Budget
from bench.harness.nightly.suite import TimePlan
from bench.harness.planning.fleets import labelled
from bench.harness.planning.preparation import Prepared
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet
from bench.harness.training.ledger import Clock
from bench.optim.objective import Method

Block = Callable[[], float]
"""Does a fixed piece of work and returns its seconds, for an update or a pass of the kernel."""

KERNEL = "kernel 1"
"""The name of the kernel's definition: another definition takes another name, so that no series
goes on across it."""
CASES = 128
"""Rows of the kernel's matrix products."""
WORK = {"cpu": 4e9, "cuda": 4e12}
"""Floating-point operations of a block of the kernel; some 50 ms, long beside a clock's tick."""
CALL = 2e5
"""Operations that a call counts as besides its own: small ones take as long as calling them."""
WARM_UP = 2
"""Updates before the clock starts: libraries set themselves up, and a GPU's graph is captured."""
SEED = 0


def metric_of(plan: TimePlan) -> str:
    """Return what a time is called: other repetitions scatter otherwise, and are another metric."""
    return f"update / {KERNEL}, {plan.blocks} blocks of {plan.updates}"


def night_times(prepared: Prepared, plan: TimePlan) -> dict[str, float]:
    """Measure the methods of a comparison once; return by label what a night records of each.

    The median over blocks of log(seconds an update / seconds a pass of the kernel): a burst of
    other work on the machine spoils blocks, and half of them may be spoilt.
    """
    logs = relative_times(kernel_of(prepared), blocks_of(prepared, plan.updates), plan.blocks)
    return {label: float(np.median(values)) for label, values in logs.items()}


def relative_times(
    kernel: Block, methods: Mapping[str, Block], blocks: int
) -> dict[str, list[float]]:
    """Return for each method log(seconds of its block / seconds of the kernel), block by block.

    Methods take turns, and in each round another one begins. The kernel runs before and after
    every block, and what counts is the geometric mean of the two, so that a drift that is steady
    over the three cancels.
    """
    logs: dict[str, list[float]] = {label: [] for label in methods}
    labels = list(methods)
    # Libraries set themselves up at their first use.
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


def blocks_of(prepared: Prepared, updates: int) -> dict[str, Block]:
    """Return for each method of a comparison what times `updates` updates of a single trial.

    Each block trains a new fleet from the same start, so all make the same updates. The clock is
    the training clock: evaluation is off it.
    """
    machine = prepared.machine
    tensors = DeviceData.put(prepared.data, machine.device, machine.dtype)

    def block(label: str, method: Method) -> Block:
        return lambda: _seconds_of_an_update(prepared, tensors, label, method, updates)

    return {each.label: block(each.label, each.method) for each in labelled(prepared.methods)}


@torch.no_grad()
def _seconds_of_an_update(
    prepared: Prepared, tensors: DeviceData, label: str, method: Method, updates: int
) -> float:
    end = WARM_UP + updates
    # A budget of its own: a trial's may end before that.
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


def kernel_of(prepared: Prepared) -> Block:
    """Return the reference kernel of a problem: a fixed amount of work of an update's kind.

    A pass makes, for every weight matrix of the problem's layout, the products with CASES rows
    that a forward and a backward pass make, and then v ← v/2 + g/2 over P numbers. Nothing of
    optim/ or models/ is in it but the layout, so what becomes slower there shows in the ratio.
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
