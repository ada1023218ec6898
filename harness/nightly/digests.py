"""The digest of where methods stand after a few updates: what an unchanged program repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from bench.harness.execution.certificate import theta_digest
from bench.harness.planning.fleets import labelled
from bench.harness.planning.preparation import Prepared, prepare
from bench.harness.planning.request import Request
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet
from bench.optim.objective import Method

SEED = 0


@dataclass(frozen=True)
class Digest:
    """Where one method stands."""

    method: str
    """Its label."""
    theta: str
    """SHA-256 of the parameters that would be evaluated."""
    context: Mapping[str, object]
    """What its bits depend on, besides the program."""


def digests(request: Request, updates: int) -> list[Digest]:
    """Return for each method the digest of θ after so many updates under seed 0.

    In float64 and on one thread of the CPU, where sums are always added in one order. The updates
    are the whole budget, so that schedules that follow it are seen from beginning to end.
    """
    alone = replace(request, budget=f"updates={updates}", device="cpu", precision="fp64", threads=1)
    prepared = prepare(alone)
    machine = prepared.machine
    tensors = DeviceData.put(prepared.data, machine.device, machine.dtype)
    return [
        Digest(each.label, _after(prepared, tensors, each.method), machine.context(1))
        for each in labelled(prepared.methods)
    ]


@torch.no_grad()
def _after(prepared: Prepared, tensors: DeviceData, method: Method) -> str:
    problem, protocol = prepared.problem, prepared.protocol
    fleet = Fleet(problem, tensors, method, [SEED], protocol.budget, protocol.evaluations)
    for _ in range(int(protocol.budget.amount)):
        fleet.advance()
    theta = fleet.method.iterate(fleet.theta, fleet.state)
    return theta_digest(problem.layout, theta[0])
