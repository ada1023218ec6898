"""Digests of the parameters after a few updates; an unchanged program repeats them exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from bench.harness.execution.certificate import theta_digest
from bench.harness.planning.fleets import label_methods
from bench.harness.planning.preparation import PreparedRequest, prepare
from bench.harness.planning.request import Request
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet
from bench.optim.objective import Method

SEED = 0


@dataclass(frozen=True)
class Digest:
    """The digest of one method's parameters."""

    method: str
    """The method's label."""
    theta: str
    """SHA-256 of the parameters that would be evaluated."""
    context: Mapping[str, object]
    """What the bits depend on besides the program."""


def digests(request: Request, updates: int) -> list[Digest]:
    """Return for each method the digest of θ after `updates` updates with seed 0.

    The updates run in float64 on one CPU thread, so that sums always have the same order. They are
    the whole budget, so that the digest covers schedules from beginning to end.
    """
    alone = replace(request, budget=f"updates={updates}", device="cpu", precision="fp64", threads=1)
    prepared = prepare(alone)
    machine = prepared.machine
    tensors = DeviceData.from_data(prepared.data, machine.device, machine.dtype)
    return [
        Digest(each.label, _after(prepared, tensors, each.method), machine.context(1))
        for each in label_methods(prepared.methods)
    ]


@torch.no_grad()
def _after(prepared: PreparedRequest, tensors: DeviceData, method: Method) -> str:
    problem, protocol = prepared.problem, prepared.protocol
    fleet = Fleet(problem, tensors, method, [SEED], protocol.budget, protocol.evaluations)
    for _ in range(int(protocol.budget.amount)):
        fleet.advance()
    theta = fleet.method.iterate(fleet.theta, fleet.state)
    return theta_digest(problem.layout, theta[0])
