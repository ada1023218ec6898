"""The training loop, once, for K ≥ 1 trials that run as one tensor program."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.harness.core.records import Ledger, Measurement, Status
from bench.harness.core.spec import Budget
from bench.harness.distributed.consensus import Talks, checksums
from bench.harness.distributed.ranks import ALONE, Ranks
from bench.harness.training.bound_objective import (
    BoundObjective,
    evaluate,
    initial_parameters,
    observe,
)
from bench.harness.training.cases import DeviceData
from bench.harness.training.cuda_graph import Glimpse
from bench.harness.training.graph_replay import CapturedUpdates
from bench.harness.training.ledger import Account, Clock
from bench.models.problem import Problem
from bench.optim.objective import FORESEEN, BudgetSpent, Method

DECADES = 3.0
"""The evaluation grid starts at so many decades below the budget."""
TICK = 0.2
"""Seconds between two reports of progress."""
COUNTED = ("updates", "examples", "gradients", "products", "cg_steps")
"""What of the account is a count."""


@dataclass(frozen=True)
class Progress:
    """Where a fleet stands, for a progress bar."""

    fraction: float
    updates: int
    loss: float
    """The mean over rows of the last minibatch losses."""
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """How one row ended."""

    status: Status
    reason: str | None
    ledger: Ledger
    theta: Float[Tensor, " P"]


class Observer(Protocol):
    """Who is told while a fleet trains; nothing here may wait."""

    def measured(self, row: int, measurement: Measurement) -> None:
        """Take note that a row was evaluated."""

    def progressed(self, progress: Progress) -> None:
        """Take note of where the fleet stands, every now and then."""

    def stopping(self) -> bool:
        """Say whether the run is to be interrupted."""


class Keeper(Protocol):
    """Who keeps a fleet's state, from which `Fleet.load_state_dict` goes on."""

    def due(self, elapsed: float) -> bool:
        """Say whether to keep it now, when so many seconds have passed since the run began."""

    def write(self, state: Mapping[str, Any]) -> object:
        """Keep it; what fails here must not end the run."""


def evaluation_grid(budget: Budget, evaluations: int) -> list[float]:
    """Return the points of the budget at which trials are evaluated: even on its logarithm.

    >>> evaluation_grid(Budget("updates", 1000.0), 4)
    [1.0, 10.0, 100.0, 1000.0]
    """
    points = np.logspace(-DECADES, 0.0, max(2, evaluations)) * budget.amount
    return [float(f"{point:.12g}") for point in points]


def updates_of(method: Method, budget: Budget) -> int | None:
    """Return how many updates the budget is, where the method's step has a fixed cost."""
    if budget.currency == "updates":
        return int(budget.amount)
    cost = method.cost_of_a_step
    if cost is None or budget.currency == "seconds":
        return None
    return int(budget.amount * (1 + 1e-9) // cost)


class Fleet:
    """K trials of one problem under one budget.

    `starts`, where it is given, has what each row starts as: the same problem but for its
    initialisation. On several `ranks` each has the whole of θ and its part of every batch.
    """

    def __init__(
        self,
        problem: Problem,
        data: DeviceData,
        method: Method,
        seeds: Sequence[int],
        budget: Budget,
        evaluations: int,
        starts: Sequence[Problem] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        device, dtype = data.train.inputs.device, data.train.inputs.dtype
        self.problem, self.data, self.method = problem, data, method
        self.account = Account(budget, Clock(device))
        self.objective = BoundObjective(problem, data, seeds, self.account, ranks)
        if starts is None:
            self.theta = initial_parameters(problem, list(seeds), device, dtype)
        else:
            rows = zip(starts, seeds, strict=True)
            self.theta = torch.cat(
                [initial_parameters(start, [seed], device, dtype) for start, seed in rows]
            )
        self.updates = updates_of(method, budget)
        self.state = method.init(self.theta, seeds[0], self.updates)
        self._grid = evaluation_grid(budget, evaluations)
        self._measured = 0
        self._measured_at: tuple[int, float] | None = None
        self._seeds = list(seeds)
        self._going = list(range(len(seeds)))
        """Which trial each row of the tensors is: rows may be left out once they have ended."""
        self._ended: dict[int, Outcome] = {}
        self._made = torch.zeros((), dtype=torch.int64, device=device)
        self._bad_at = torch.full((len(seeds),), -1, dtype=torch.int64, device=device)
        self._report: Mapping[str, Any] = {}
        self._captured: CapturedUpdates | None = None
        self._glimpse = Glimpse()
        self._talks = Talks(ranks)

    @torch.no_grad()
    def run(self, observer: Observer, keeper: Keeper | None = None) -> list[Outcome]:
        """Train to the end of the budget, and say how each row ended.

        The state is kept whenever `keeper` says so, and when the run is interrupted.
        """
        began = time.perf_counter()
        if not self._measured:
            self._evaluate(observer)
        due, told = iter([*self._grid[:-1], math.inf]), -math.inf
        spent, next_due = self._spent(), next(due)
        clock = self.account.clock
        clock.start()
        while not self._is_over(spent):
            while spent >= next_due:
                next_due = next(due)
            seconds = time.perf_counter() - began
            stop, keep = self._talks.agreed(
                self.account.updates,
                seconds,
                observer.stopping(),
                keeper is not None and keeper.due(seconds),
            )
            if stop or keep:
                clock.stop()
                if keeper is not None:
                    keeper.write(self.state_dict())
                if stop:
                    return self._finish("interrupted", "interrupted by a signal")
                clock.start()
            if not self.advance(next_due):
                break
            spent = self._spent()
            if spent >= next_due:
                clock.stop()
                self._evaluate(observer)
                self._leave_out_ended()
                clock.start()
            now = time.perf_counter()
            if now - told > TICK:
                told = now
                observer.progressed(self._progress())
        clock.stop()
        # The last update may have met a point of the grid.
        if self._work() != self._measured_at:
            self._evaluate(observer)
        observer.progressed(self._progress())
        reason = self._report.get("stop")
        if not self.account.updates:
            reason = "The budget does not pay for one update."
        return self._finish("budget", reason)

    @torch.no_grad()
    def advance(self, due: float = math.inf) -> bool:
        """Make one update; on a GPU, where they can be captured, several, until `due` is spent.

        False where the budget could not pay for it and θ is as before.
        """
        if self._captured is not None:
            left = FORESEEN if self.updates is None else self.updates - self.account.updates
            try:
                self._captured.make(min(left, FORESEEN), min(due, self.account.budget.amount))
            except BudgetSpent:
                return False
            return True
        before = self.theta.clone() if self.method.cost_of_a_step is None else None
        try:
            self._update()
        except BudgetSpent:
            if before is not None:
                self.theta.copy_(before)
            return False
        self.account.updates += 1
        self.account.cg_steps += int(self._report.get("cg_steps", 0))
        if self._talks.ranks.size > 1 and self.method.cost_of_a_step is None:
            self._talks.ranks.agree("the decisions of an iteration", self._decided())
        # Everything that the libraries set up at their first use is there now.
        self._captured = self._capturable()
        return True

    def _update(self) -> None:
        """Make an update and see whether a row's loss stopped being finite; nobody waits for it."""
        self._report = self.method.step(self.theta, self.objective, self.state)
        self._made.add_(1)
        loss = self._report["loss"]
        # A number less itself is 0, unless it is not finite.
        fine = (loss - loss == 0).logical_or_(self._bad_at >= 0)
        torch.where(fine, self._bad_at, self._made, out=self._bad_at)

    def _capturable(self) -> CapturedUpdates | None:
        if not (getattr(self.method, "capturable", False) and self.objective.capturable):
            return None
        return CapturedUpdates(self._update, self._foresee, self.account, self.theta.device)

    def _foresee(self, updates: int) -> None:
        self.objective.batches.foresee(updates)
        self.method.foresee(self.state, self.account.updates, updates)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` goes on bit for bit.

        θ, the method's state, where the streams of batches stand, ledger and clock, how rows have
        ended. The tensors are the fleet's own, not copies.
        """
        account = self.account
        return {
            "theta": self.theta,
            "method": self.method.state_dict(self.state),
            "streams": self.objective.batches.positions(),
            "account": {name: getattr(account, name) for name in COUNTED},
            "seconds": account.clock.seconds,
            "measured": self._measured,
            "measured_at": self._measured_at,
            "going": self._going,
            "ended": {trial: asdict(outcome) for trial, outcome in self._ended.items()},
            "made": self._made,
            "bad_at": self._bad_at,
            # A stranger's numbers may be numpy's, which are no plain values.
            "report": {
                name: value if isinstance(value, Tensor | str) else float(value)
                for name, value in self._report.items()
            },
        }

    @torch.no_grad()
    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from where another fleet of the same trials stood, instead of from the start."""
        if saved["going"] != self._going:
            self._go_on_with(saved["going"])
        self.theta.copy_(saved["theta"])
        self.method.load_state_dict(self.state, saved["method"])
        self.objective.batches.move_to(saved["streams"])
        for name, value in saved["account"].items():
            setattr(self.account, name, value)
        self.account.clock.restore(saved["seconds"])
        self._measured, at = saved["measured"], saved["measured_at"]
        self._measured_at = None if at is None else (at[0], at[1])
        self._ended = {
            trial: Outcome(**{**plain, "ledger": Ledger(**plain["ledger"])})
            for trial, plain in saved["ended"].items()
        }
        self._made.copy_(saved["made"])
        self._bad_at.copy_(saved["bad_at"])
        self._report = saved["report"]

    def _is_over(self, spent: float) -> bool:
        if "stop" in self._report or len(self._ended) == len(self._seeds):
            return True
        if self.updates is not None:
            return self.account.updates >= self.updates
        return spent >= self.account.budget.amount

    def _spent(self) -> float:
        """Return what is spent; of seconds, which differ from rank to rank, those of the first."""
        spent = self.account.spent
        return self._talks.ranks.first(spent) if self._in_seconds else spent

    @property
    def _in_seconds(self) -> bool:
        return self.account.budget.currency == "seconds"

    def _decided(self) -> list[float]:
        """Return all that a step reports, as numbers."""
        numbers = [float(v) for k, v in self._report.items() if k not in ("loss", "stop")]
        return [*numbers, float("stop" in self._report), *self._report["loss"].tolist()]

    def _evaluate(self, observer: Observer) -> None:
        """Measure every row that is still going, and end those that have diverged."""
        theta = self.method.iterate(self.theta, self.state)
        ranks = self._talks.ranks
        if ranks.size > 1:
            ranks.agree("the parameters", checksums(theta))
        values = torch.stack(
            [
                value
                for cases in (self.data.train, self.data.test)
                for value in evaluate(self.problem, theta, cases, ranks)
            ]
        ).tolist()
        shown = observe(self.problem, theta, self.data.test)
        bad_at, ledger = self._bad_at.tolist(), self.account.ledger()
        diagnostics = {
            name: float(value)
            for name, value in self._report.items()
            if name not in ("loss", "stop") and math.isfinite(value)
        }
        for row, trial in enumerate(self._going):
            if trial in self._ended:
                continue
            train_metric, train_loss, test_metric, test_loss = (each[row] for each in values)
            observer.measured(
                trial,
                Measurement(
                    self._measured,
                    ledger,
                    train_metric=train_metric,
                    test_metric=test_metric,
                    train_loss=train_loss,
                    test_loss=test_loss,
                    diagnostics={**diagnostics, **shown[row]},
                ),
            )
            if bad_at[row] >= 0 or not math.isfinite(train_metric + train_loss):
                update = bad_at[row] if bad_at[row] >= 0 else self.account.updates
                reason = f"the loss was not finite at update {update}"
                self._ended[trial] = Outcome("diverged", reason, ledger, theta[row].clone())
        self._measured += 1
        self._measured_at = self._work()

    def _leave_out_ended(self) -> None:
        """Go on with fewer rows where half of them or more have ended.

        Other shapes round differently, so in float64, where results are held against each other,
        a fleet keeps its rows; and so it does under a method that cannot let go of some.
        """
        rows = [row for row, trial in enumerate(self._going) if trial not in self._ended]
        if not 0 < len(rows) <= len(self._going) / 2 or getattr(self.method, "keep", None) is None:
            return
        if self.theta.dtype != torch.float64:
            self._go_on_with(rows)

    def _go_on_with(self, rows: Sequence[int]) -> None:
        self._captured = None
        self._going = [self._going[row] for row in rows]
        self.theta, self._bad_at = self.theta[rows], self._bad_at[rows]
        method: Any = self.method  # Not every method can let go of rows.
        self.method, self.state = method.keep(self.state, rows, self.theta)
        seeds = [self._seeds[trial] for trial in self._going]
        self.objective = self.objective.of(seeds)

    def _work(self) -> tuple[int, float]:
        return self.account.updates, self.account.gradients

    def _finish(self, status: Status, reason: str | None) -> list[Outcome]:
        ledger, theta = self.account.ledger(), self.method.iterate(self.theta, self.state)
        for row, trial in enumerate(self._going):
            if trial not in self._ended:
                self._ended[trial] = Outcome(status, reason, ledger, theta[row].clone())
        return [self._ended[trial] for trial in range(len(self._seeds))]

    def _progress(self) -> Progress:
        spent = self.account.spent / self.account.budget.amount
        if self.updates:
            spent = self.account.updates / self.updates
        loss = math.nan
        if "loss" in self._report:
            loss = self._glimpse.look(self._report["loss"].nanmean())
        return Progress(min(1.0, spent), self.account.updates, loss, self.account.clock.seconds)
