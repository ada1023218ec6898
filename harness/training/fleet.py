"""The training loop for a fleet: K ≥ 1 trials that run as one tensor program."""

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

from bench.harness.core.errors import BrokenContract
from bench.harness.core.records import Ledger, Measurement, Status
from bench.harness.core.spec import Budget
from bench.harness.distributed.consensus import Consensus, checksums
from bench.harness.distributed.ranks import SINGLE_PROCESS, Ranks
from bench.harness.training.bound_objective import (
    BoundObjective,
    evaluate,
    initial_parameters,
    observe,
)
from bench.harness.training.breakdown import is_breakdown
from bench.harness.training.cases import DeviceData
from bench.harness.training.cuda_graph import DelayedScalar
from bench.harness.training.graph_replay import CapturedUpdates
from bench.harness.training.ledger import Account, Clock
from bench.harness.training.method_contract import MethodContract, check_report
from bench.harness.training.method_layout import for_layout
from bench.harness.training.method_stream import with_random_stream
from bench.harness.training.saved_state import check_fits
from bench.models.problem import Problem
from bench.optim.objective import FORESEEN, BudgetSpent, Method
from bench.optim.plugins import short

DECADES = 3.0
"""The evaluation grid starts this many decades below the budget."""
PROGRESS_INTERVAL = 0.2
"""Seconds between two reports of progress."""
COUNTERS = ("updates", "examples", "gradients", "products", "cg_steps")
"""The counters of the account that a saved state contains."""


@dataclass(frozen=True)
class Progress:
    """The progress of a fleet, for a progress bar."""

    fraction: float
    updates: int
    loss: float
    """The mean over rows of the last minibatch losses."""
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """The end of one trial: its status, with reason, ledger and parameters."""

    status: Status
    reason: str | None
    ledger: Ledger
    theta: Float[Tensor, " P"]


class Observer(Protocol):
    """Receives the measurements of a fleet while it trains; its methods must not wait."""

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        """Receive the measurement of a row."""

    def on_progress(self, progress: Progress) -> None:
        """Receive the progress of the fleet, about every PROGRESS_INTERVAL seconds."""

    def should_stop(self) -> bool:
        """Return whether the run must be interrupted."""


class StateWriter(Protocol):
    """Saves the state of a fleet, from which `Fleet.load_state_dict` continues."""

    def due(self, elapsed: float) -> bool:
        """Return whether to save the state now, `elapsed` seconds after the start of the run."""

    def write(self, state: Mapping[str, Any]) -> object:
        """Save the state; a failure must not end the run."""


def evaluation_grid(budget: Budget, evaluations: int) -> list[float]:
    """Return the amounts of the budget at which trials are evaluated, evenly on a log scale.

    >>> evaluation_grid(Budget("updates", 1000.0), 4)
    [1.0, 10.0, 100.0, 1000.0]
    """
    points = np.logspace(-DECADES, 0.0, max(2, evaluations)) * budget.amount
    return [float(f"{point:.12g}") for point in points]


def budgeted_updates(method: Method, budget: Budget) -> int | None:
    """Return how many updates the budget pays for; None if the cost of a step may vary."""
    cost = method.cost_of_a_step
    if cost is not None and not (isinstance(cost, int | float) and 0 < cost < math.inf):
        raise BrokenContract(
            f"`cost_of_a_step` of {method.name} is {cost!r}. It must be a number of gradient-"
            "equivalents above 0, or None if it varies."
        )
    if budget.currency == "updates":
        return int(budget.amount)
    if cost is None or budget.currency == "seconds":
        return None
    return int(budget.amount * (1 + 1e-9) // cost)


class Fleet:
    """K trials of one problem under one budget.

    `starts` may have one problem for each row, which differ only in their initialisation. With
    several `ranks`, each rank holds the whole of θ and its part of every batch.
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
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        device, dtype = data.train.inputs.device, data.dtype
        self.problem, self.data = problem, data
        method = for_layout(method, problem.layout)
        self.method = method = with_random_stream(method, seeds, device)
        self.account = Account(budget, Clock(device), rows=len(seeds))
        self.objective = BoundObjective(problem, data, seeds, self.account, ranks, method.name)
        if starts is None:
            self.theta = initial_parameters(problem, list(seeds), device, dtype)
        else:
            rows = zip(starts, seeds, strict=True)
            self.theta = torch.cat(
                [initial_parameters(start, [seed], device, dtype) for start, seed in rows]
            )
        self.updates = budgeted_updates(method, budget)
        self._contract = MethodContract(self.account, self.objective.watch)
        self.state = self._contract.init(method, self.theta, seeds[0], self.updates)
        self._grid = evaluation_grid(budget, evaluations)
        self._evaluations = 0
        self._evaluated_work: tuple[int, float] | None = None
        self._seeds = list(seeds)
        self._active = list(range(len(seeds)))
        """The trial of each row of the tensors; rows of trials that have ended may be removed."""
        self._outcomes: dict[int, Outcome] = {}
        self._update_count = torch.zeros((), dtype=torch.int64, device=device)
        self._diverged_at = torch.full((len(seeds),), -1, dtype=torch.int64, device=device)
        self._report: Mapping[str, Any] = {}
        self._raised: str | None = None
        """The error that the last step raised, for want of finite numbers."""
        self._captured_updates: CapturedUpdates | None = None
        self._displayed_loss = DelayedScalar()
        self._consensus = Consensus(ranks)

    @torch.no_grad()
    def run(self, observer: Observer, state_writer: StateWriter | None = None) -> list[Outcome]:
        """Train to the end of the budget, and return the outcome of each trial.

        The state is saved whenever `state_writer` is due, and when the run is interrupted.
        """
        start = time.perf_counter()
        if not self._evaluations:
            self._evaluate(observer)
        if self._train(observer, state_writer, start):
            return self._finish("interrupted", "interrupted by a signal")
        # The last update may have been at a point of the grid.
        if self._work() != self._evaluated_work:
            self._evaluate(observer)
        observer.on_progress(self._progress())
        reason = self._report.get("stop")
        if not self.account.updates:
            reason = "The budget does not pay for one update."
        return self._finish("budget", reason)

    def _train(self, observer: Observer, state_writer: StateWriter | None, start: float) -> bool:
        """Make updates until the budget is spent; return whether the run was interrupted.

        `start` is when the run began, by `time.perf_counter`.
        """
        points, reported = iter([*self._grid[:-1], math.inf]), -math.inf
        spent, due = self._spent(), next(points)
        clock = self.account.clock
        clock.start()
        while not self._is_over(spent):
            while spent >= due:
                due = next(points)
            if self._is_interrupted(observer, state_writer, time.perf_counter() - start):
                return True
            if not self.advance(due):
                break
            spent = self._spent()
            if spent >= due:
                clock.stop()
                self._evaluate(observer)
                self._drop_ended_rows()
                clock.start()
            now = time.perf_counter()
            if now - reported > PROGRESS_INTERVAL:
                reported = now
                observer.on_progress(self._progress())
        clock.stop()
        return False

    def _is_interrupted(
        self, observer: Observer, state_writer: StateWriter | None, seconds: float
    ) -> bool:
        """Decide on all ranks whether to stop and whether to save the state; save it if so."""
        stop, save = self._consensus.decide(
            self.account.updates,
            seconds,
            observer.should_stop(),
            state_writer is not None and state_writer.due(seconds),
        )
        if stop or save:
            self.account.clock.stop()
            if state_writer is not None:
                state_writer.write(self.state_dict())
            if not stop:
                self.account.clock.start()
        return stop

    @torch.no_grad()
    def advance(self, due: float = math.inf) -> bool:
        """Make one update; with a captured graph, make several, until `due` is spent.

        Returns False if the budget cannot pay for an update; θ is then unchanged.
        """
        if self._captured_updates is not None:
            left = FORESEEN if self.updates is None else self.updates - self.account.updates
            gradients, updates = self.account.gradients, self.account.updates
            try:
                self._captured_updates.run(
                    min(left, FORESEEN), min(due, self.account.budget.amount)
                )
            except BudgetSpent:
                return False
            self._contract.require_declared_cost(
                self.method,
                self.account.gradients - gradients,
                self.account.updates - updates,
            )
            return True
        if not self._contract.step(self.method, self.theta, self.state, self._update):
            return False
        self.account.updates += 1
        self.account.cg_steps += int(self._report.get("cg_steps", 0))
        if self._consensus.ranks.size > 1 and self.method.cost_of_a_step is None:
            self._consensus.ranks.check_agreement(
                "the decisions of an iteration", self._reported_numbers()
            )
        # The libraries have initialised themselves during the first update.
        self._captured_updates = self._capture()
        return True

    def _update(self) -> None:
        """Make an update, and note on the device the rows whose loss is not finite any more."""
        try:
            with self.objective.watch.step():
                report = self.method.step(self.theta, self.objective.for_method, self.state)
        except Exception as error:
            report = self._breakdown(error)
        if self.account.refused:
            # The step will be undone, whatever it reports.
            return
        # What has other entries than the last one, which was checked.
        if not (self._report and isinstance(report, dict) and report.keys() == self._report.keys()):
            check_report(self.method, report, len(self.theta))
        self._report = report
        self._update_count.add_(1)
        loss = self._report["loss"]
        # The host need not wait for a CPU, and a few operations cost more than a look.
        if loss.device.type == "cpu" and all(map(math.isfinite, loss.tolist())):
            return
        # x − x is 0 only if x is finite.
        is_known = (loss - loss == 0).logical_or_(self._diverged_at >= 0)
        torch.where(is_known, self._diverged_at, self._update_count, out=self._diverged_at)

    def _breakdown(self, error: Exception) -> dict[str, Any]:
        """Return the report of a step that raised because its numbers are no longer finite.

        Raises the error where it has another reason.
        """
        if self._captured_updates is not None:
            # It was raised while a graph was made, where no number can be read.
            raise error
        # No training follows.
        self.account.clock.stop()
        if not is_breakdown(error, self.problem, self.data.train, self.theta, self._report):
            raise error
        if self.account.refused:
            raise BudgetSpent from error
        self._raised = short(error).rstrip(".")
        return {"loss": torch.full_like(self.theta[:, 0], math.nan), "stop": self._raised}

    def _capture(self) -> CapturedUpdates | None:
        if not (getattr(self.method, "capturable", False) and self.objective.capturable):
            return None
        return CapturedUpdates(self._update, self._prefetch, self.account, self.theta.device)

    def _prefetch(self, updates: int) -> None:
        self.objective.batches.prefetch(updates)
        self.method.foresee(self.state, self.account.updates, updates)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` continues bit for bit.

        These are θ, the method's state, the positions of the batch streams, ledger and clock, and
        the outcomes of trials. The tensors are the fleet's own, not copies.
        """
        account = self.account
        return {
            "theta": self.theta,
            "method": self.method.state_dict(self.state),
            "streams": self.objective.batches.positions(),
            "account": {name: getattr(account, name) for name in COUNTERS},
            "seconds": account.clock.seconds,
            "measured": self._evaluations,
            "measured_at": self._evaluated_work,
            "going": self._active,
            "ended": {trial: asdict(outcome) for trial, outcome in self._outcomes.items()},
            "made": self._update_count,
            "bad_at": self._diverged_at,
            # A user's method may report NumPy numbers, which are not plain values.
            "report": {
                name: value if isinstance(value, Tensor | str) else float(value)
                for name, value in self._report.items()
            },
        }

    @torch.no_grad()
    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from the state of another fleet with the same trials.

        Raises Mismatch if it does not fit.
        """
        if saved["going"] != self._active:
            self._keep_rows(saved["going"])
        # Otherwise a smaller tensor would be spread over a larger one.
        own = {"theta": self.theta, "made": self._update_count, "bad_at": self._diverged_at}
        check_fits(saved, own, "fleet")
        check_fits(saved["method"], self.method.state_dict(self.state), "fleet.method")
        self.theta.copy_(saved["theta"])
        self.method.load_state_dict(self.state, saved["method"])
        self.objective.batches.restore_positions(saved["streams"])
        for name, value in saved["account"].items():
            setattr(self.account, name, value)
        self.account.clock.restore(saved["seconds"])
        self._evaluations, at = saved["measured"], saved["measured_at"]
        self._evaluated_work = None if at is None else (at[0], at[1])
        self._outcomes = {
            trial: Outcome(**{**plain, "ledger": Ledger(**plain["ledger"])})
            for trial, plain in saved["ended"].items()
        }
        self._update_count.copy_(saved["made"])
        self._diverged_at.copy_(saved["bad_at"])
        self._report = saved["report"]

    def _is_over(self, spent: float) -> bool:
        if "stop" in self._report or len(self._outcomes) == len(self._seeds):
            return True
        if self.updates is not None:
            return self.account.updates >= self.updates
        return spent >= self.account.budget.amount

    def _spent(self) -> float:
        """Return the amount spent; seconds differ between ranks, so those of rank 0 count."""
        spent = self.account.spent
        return self._consensus.ranks.broadcast(spent) if self._in_seconds else spent

    @property
    def _in_seconds(self) -> bool:
        return self.account.budget.currency == "seconds"

    def _reported_numbers(self) -> list[float]:
        """Return everything that the last step reported, as numbers."""
        numbers = [float(v) for k, v in self._report.items() if k not in ("loss", "stop")]
        return [*numbers, float("stop" in self._report), *self._report["loss"].tolist()]

    def _evaluate(self, observer: Observer) -> None:
        """Measure all trials that have not ended, and end those that have diverged."""
        theta = self._contract.iterate(self.method, self.theta, self.state)
        ranks = self._consensus.ranks
        if ranks.size > 1:
            ranks.check_agreement("the parameters", checksums(theta))
        values = torch.stack(
            [
                value
                for cases in (self.data.train, self.data.test)
                for value in evaluate(self.problem, theta, cases, ranks)
            ]
        ).tolist()
        observed = observe(self.problem, theta, self.data.test)
        self._require_unchanged_data()
        diverged_at, ledger = self._diverged_at.tolist(), self.account.ledger()
        diagnostics = {
            name: float(value)
            for name, value in self._report.items()
            if name not in ("loss", "stop") and math.isfinite(value)
        }
        for row, trial in enumerate(self._active):
            if trial in self._outcomes:
                continue
            train_metric, train_loss, test_metric, test_loss = (each[row] for each in values)
            observer.on_measurement(
                trial,
                Measurement(
                    self._evaluations,
                    ledger,
                    train_metric=train_metric,
                    test_metric=test_metric,
                    train_loss=train_loss,
                    test_loss=test_loss,
                    diagnostics={**diagnostics, **observed[row]},
                ),
            )
            if diverged_at[row] >= 0 or not math.isfinite(train_metric + train_loss):
                update = diverged_at[row] if diverged_at[row] >= 0 else self.account.updates
                reason = f"the loss was not finite at update {update}"
                # Not where the loss was of no use before.
                if self._raised is not None and update == self.account.updates:
                    reason = f"update {update} raised {self._raised}"
                self._outcomes[trial] = Outcome("diverged", reason, ledger, theta[row].clone())
        self._evaluations += 1
        self._evaluated_work = self._work()

    def _drop_ended_rows(self) -> None:
        """Remove the rows of trials that have ended, once they are half of the rows or more.

        In float64, which is for exact comparisons, all rows stay, because other shapes round
        differently. They also stay if the method cannot remove rows.
        """
        rows = [row for row, trial in enumerate(self._active) if trial not in self._outcomes]
        if not 0 < len(rows) <= len(self._active) / 2 or getattr(self.method, "keep", None) is None:
            return
        if self.theta.dtype != torch.float64:
            self._keep_rows(rows)

    def _keep_rows(self, rows: Sequence[int]) -> None:
        self._captured_updates = None
        self._active = [self._active[row] for row in rows]
        self.theta, self._diverged_at = self.theta[rows], self._diverged_at[rows]
        method: Any = self.method  # `keep` is not part of the `Method` contract.
        self.method, self.state = method.keep(self.state, rows, self.theta)
        seeds = [self._seeds[trial] for trial in self._active]
        self.objective = self.objective.for_seeds(seeds)
        self._contract.watch = self.objective.watch

    def _require_unchanged_data(self) -> None:
        self.data.require_unchanged(f"{self.method.name} trained on {self.problem.name}")

    def _work(self) -> tuple[int, float]:
        return self.account.updates, self.account.gradients

    def _finish(self, status: Status, reason: str | None) -> list[Outcome]:
        ledger = self.account.ledger()
        theta = self._contract.iterate(self.method, self.theta, self.state)
        self._require_unchanged_data()
        for row, trial in enumerate(self._active):
            if trial not in self._outcomes:
                self._outcomes[trial] = Outcome(status, reason, ledger, theta[row].clone())
        return [self._outcomes[trial] for trial in range(len(self._seeds))]

    def _progress(self) -> Progress:
        spent = self.account.spent / self.account.budget.amount
        if self.updates:
            spent = self.account.updates / self.updates
        loss = math.nan
        if "loss" in self._report:
            loss = self._displayed_loss.update(self._report["loss"].nanmean())
        return Progress(min(1.0, spent), self.account.updates, loss, self.account.clock.seconds)
