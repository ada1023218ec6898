"""The law that a batch can be split over processes: their sum is what one process computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Barrier, BrokenBarrierError, Lock
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.harness.check.derivatives import perturbed_parameters, random_direction
from bench.harness.check.laws import LawViolation, check_close, equal_bits, expect
from bench.harness.core.spec import Budget
from bench.harness.distributed.ranks import SINGLE_PROCESS, Ranks, part_of, require_agreement
from bench.harness.training.bound_objective import BoundObjective
from bench.harness.training.cases import DeviceData
from bench.harness.training.ledger import Account, Clock
from bench.models.problem import Data, Problem
from bench.optim.random_streams import RandomStreams

T = TypeVar("T")

CPU = torch.device("cpu")
SPLITS = ((7, 2), (7, 3), (2, 3))
"""Numbers of cases and of ranks: parts have different sizes, and some are empty."""
SEEDS = (0, 1)
"""The seeds of the rows; each row sees its own batches."""
TOLERANCE = 1e-10
"""Relative difference that another order of summation can cause, with a margin."""


_DONE = object()
"""The value that a rank exchanges when its work is done."""


class ThreadRanks:
    """A rank that is a thread of this process; only one thread computes at a time.

    So a problem need not be safe for threads, and it gives the same bits every time.
    """

    def __init__(self, rank: int, meeting: Exchange) -> None:
        self.rank, self.size = rank, meeting.size
        self._meeting = meeting

    def part(self, cases: int) -> slice:
        """Return this rank's cases of a batch."""
        return part_of(cases, self.rank, self.size)

    def all_reduce(self, *tensors: Tensor) -> None:
        """Write to each tensor its sum over ranks, added in their order."""
        everybodys = self._meeting.exchange(self.rank, [each.clone() for each in tensors])
        for tensor, parts in zip(tensors, zip(*everybodys, strict=True), strict=True):
            tensor.copy_(sum(parts[1:], parts[0]))

    def any(self, *flags: bool) -> list[bool]:
        """Say of each flag whether any rank has raised it."""
        return [any(each) for each in zip(*self._meeting.exchange(self.rank, flags), strict=True)]

    def broadcast(self, value: T) -> T:
        """Return rank 0's value."""
        given: T = self._meeting.exchange(self.rank, value)[0]
        return given

    def check_agreement(self, what: str, values: Sequence[float]) -> None:
        """Raise Infrastructure unless all have the same bits."""
        require_agreement(what, self._meeting.exchange(self.rank, list(values)))

    def report_alive(self, updates: int) -> None:
        """Do nothing: a thread cannot be killed on its own."""


class Exchange:
    """A point at which threads wait for each other and exchange values."""

    def __init__(self, size: int) -> None:
        self.size, self.turn = size, Lock()
        self._barrier, self._brought = Barrier(size), list[Any]([None] * size)

    def exchange(self, rank: int, value: object) -> list[Any]:
        """Return the values of all ranks, once all have given theirs."""
        self._brought[rank] = value
        self._wait()
        everybodys = list(self._brought)
        # No rank may give its next value before all ranks have read this one.
        self._wait()
        done = [each is _DONE for each in everybodys]
        if any(done) and not all(done):
            raise LawViolation(
                "expected all processes to make the same calls; found that process "
                f"{done.index(True)} has ended while process {done.index(False)} makes another call"
            )
        return everybodys

    def leave(self) -> None:
        """Stop the other threads' wait, because one thread has failed."""
        self._barrier.abort()

    def _wait(self) -> None:
        # Threads share the global random streams, and each rank may have its own in their place.
        streams = RandomStreams.current()
        self.turn.release()
        try:
            self._barrier.wait()
        finally:
            self.turn.acquire()
            streams.install()


def run_on_ranks(size: int, work: Callable[[Ranks], T]) -> list[T]:
    """Run `work` on `size` ranks and return their results; raise the error of a rank that fails."""
    meeting = Exchange(size)

    def one(rank: int) -> T:
        with meeting.turn, torch.no_grad():
            try:
                found = work(ThreadRanks(rank, meeting))
                # Otherwise a rank that makes another call would wait for this one forever.
                meeting.exchange(rank, _DONE)
                return found
            except BaseException:
                meeting.leave()
                raise

    with ThreadPoolExecutor(size) as pool:
        done = [pool.submit(copy_context().run, one, rank) for rank in range(size)]
    errors = [error for each in done if (error := each.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
        raise error
    return [each.result() for each in done]


def check(problem: Problem, data: Data) -> str:
    """Check that losses, gradients, squared gradients and Gauss–Newton products of parts add up."""
    put = DeviceData.from_data(data, CPU, torch.float64)
    theta = torch.cat([perturbed_parameters(problem, seed) for seed in SEEDS])
    v = torch.cat([random_direction(problem, 60 + seed) for seed in SEEDS])
    worst = 0.0
    for cases, ranks in SPLITS:

        def everything(each: Ranks, cases: int = cases) -> dict[str, Tensor]:
            return _all_results(problem, put, each, cases, theta, v)

        with torch.no_grad():
            alone = everything(SINGLE_PROCESS)
        split = run_on_ranks(ranks, everything)
        for what, value in alone.items():
            named = f"{what} of {cases} cases over {ranks} processes"
            worst = max(worst, check_close(named, split[0][what], value, TOLERANCE))
            same = all(equal_bits(split[0][what], other[what]) for other in split[1:])
            expect(same, f"the same {named} on all of them", "different values")
    shown = ", ".join(f"{cases} cases over {ranks}" for cases, ranks in SPLITS)
    return f"relative difference {worst:.1e}, {shown}, K = {len(SEEDS)}"


def _all_results(
    problem: Problem, put: DeviceData, ranks: Ranks, cases: int, theta: Tensor, v: Tensor
) -> dict[str, Tensor]:
    """Return everything that an objective computes on a batch, and its charge for it."""
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
        "Hessian product": bound.hessian(theta, batch)[2](v).clone(),
        "price": torch.tensor([account.gradients, account.examples], dtype=torch.float64),
    }
