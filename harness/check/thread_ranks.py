"""A batch may be split over processes: what they add up is what one process computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, Lock
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.harness.check.derivatives import everywhere, moved
from bench.harness.check.laws import Broken, equal, expect, near
from bench.harness.core.spec import Budget
from bench.harness.distributed.ranks import ALONE, Ranks, part_of, require_agreement
from bench.harness.training.bound_objective import BoundObjective
from bench.harness.training.cases import DeviceData
from bench.harness.training.ledger import Account, Clock
from bench.models.problem import Data, Problem

T = TypeVar("T")

CPU = torch.device("cpu")
SPLITS = ((7, 2), (7, 3), (2, 3))
"""Cases, and ranks that they are split over: parts are of different sizes, and some are empty."""
SEEDS = (0, 1)
"""Rows that see batches of their own."""
TOLERANCE = 1e-10
"""Relative difference that another order of summation explains, with room."""


_DONE = object()
"""What a rank brings to the others once its work is done."""


class Threads:
    """Ranks that are threads of this process; they take turns, so only one computes at a time.

    A problem need not be made for threads then, and gives the same bits every time.
    """

    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank, self.size = rank, meeting.size
        self._meeting = meeting

    def part(self, cases: int) -> slice:
        """Return this rank's cases of a batch."""
        return part_of(cases, self.rank, self.size)

    def add_up(self, *tensors: Tensor) -> None:
        """Write to each tensor its sum over ranks, added in their order."""
        everybodys = self._meeting.exchange(self.rank, [each.clone() for each in tensors])
        for tensor, parts in zip(tensors, zip(*everybodys, strict=True), strict=True):
            tensor.copy_(sum(parts[1:], parts[0]))

    def any(self, *flags: bool) -> list[bool]:
        """Say of each flag whether any rank has raised it."""
        return [any(each) for each in zip(*self._meeting.exchange(self.rank, flags), strict=True)]

    def first(self, value: T) -> T:
        """Return rank 0's value."""
        given: T = self._meeting.exchange(self.rank, value)[0]
        return given

    def agree(self, what: str, values: Sequence[float]) -> None:
        """Raise Infrastructure unless all have the same bits."""
        require_agreement(what, self._meeting.exchange(self.rank, list(values)))

    def beat(self, updates: int) -> None:
        """Do nothing: a thread does not die alone."""


class Meeting:
    """Where so many threads wait for each other, and see what each has brought."""

    def __init__(self, size: int) -> None:
        self.size, self.turn = size, Lock()
        self._barrier, self._brought = Barrier(size), list[Any]([None] * size)

    def exchange(self, rank: int, value: object) -> list[Any]:
        """Return what every rank has brought, once all have."""
        self._brought[rank] = value
        self._wait()
        everybodys = list(self._brought)
        # Nobody may bring the next before all have seen this.
        self._wait()
        done = [each is _DONE for each in everybodys]
        if any(done) and not all(done):
            raise Broken(
                "expected every process to ask for the same; found that process "
                f"{done.index(True)} has ended and process {done.index(False)} asks for more"
            )
        return everybodys

    def leave(self) -> None:
        """End the others' waiting: one of them will not come."""
        self._barrier.abort()

    def _wait(self) -> None:
        self.turn.release()
        try:
            self._barrier.wait()
        finally:
            self.turn.acquire()


def together(size: int, work: Callable[[Ranks], T]) -> list[T]:
    """Return what `work` gives on each of so many ranks; raises what one of them raised."""
    meeting = Meeting(size)

    def one(rank: int) -> T:
        with meeting.turn, torch.no_grad():
            try:
                found = work(Threads(rank, meeting))
                # One that still asks for something would wait for this one without end.
                meeting.exchange(rank, _DONE)
                return found
            except BaseException:
                meeting.leave()
                raise

    with ThreadPoolExecutor(size) as pool:
        done = [pool.submit(one, rank) for rank in range(size)]
    errors = [error for each in done if (error := each.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
        raise error
    return [each.result() for each in done]


def check(problem: Problem, data: Data) -> str:
    """See that loss, gradient, squared gradient and Gauss–Newton product of parts add up."""
    put = DeviceData.put(data, CPU, torch.float64)
    theta = torch.cat([moved(problem, seed) for seed in SEEDS])
    v = torch.cat([everywhere(problem, 60 + seed) for seed in SEEDS])
    worst = 0.0
    for cases, ranks in SPLITS:

        def everything(each: Ranks, cases: int = cases) -> dict[str, Tensor]:
            return _everything(problem, put, each, cases, theta, v)

        with torch.no_grad():
            alone = everything(ALONE)
        split = together(ranks, everything)
        for what, value in alone.items():
            named = f"{what} of {cases} cases over {ranks} processes"
            worst = max(worst, near(named, split[0][what], value, TOLERANCE))
            same = all(equal(split[0][what], other[what]) for other in split[1:])
            expect(same, f"the same {named}, on all of them", "others")
    shown = ", ".join(f"{cases} cases over {ranks}" for cases, ranks in SPLITS)
    return f"relative difference {worst:.1e}, {shown}, K = {len(SEEDS)}"


def _everything(
    problem: Problem, put: DeviceData, ranks: Ranks, cases: int, theta: Tensor, v: Tensor
) -> dict[str, Tensor]:
    """Return all that an objective computes on a batch, and what it charges for it."""
    account = Account(Budget("updates", 1), Clock(CPU))
    bound = BoundObjective(problem, put, SEEDS, account, ranks)
    batch = bound.next_batch(cases)
    loss, gradient = bound.gradient(theta, batch)
    return {
        "loss with the gradient": loss.clone(),
        "gradient": gradient.clone(),
        "loss": bound.loss(theta, batch),
        "squared gradient": bound.squared_gradient(theta, batch),
        "curvature product": bound.curvature(theta, batch)(v).clone(),
        "price": torch.tensor([account.gradients, account.examples], dtype=torch.float64),
    }
