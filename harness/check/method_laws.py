"""What every optimizer must satisfy, whoever wrote it, on two small problems in float64."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.binding import BoundObjective, DeviceData, initial_parameters
from harness.check.laws import EXACT, Law, NotApplicable, equal, expect, near, undisturbed
from harness.check.small import Network, Quadratic
from harness.ledger import Account, Clock
from harness.spec import Budget
from models.problem import DataSource, Problem
from optim.objective import Batch, Method

CPU = torch.device("cpu")
STEPS = 10
TO_LOWER = 100
ROWS = 1e-10
"""Relative difference allowed between a row of a fleet and the trial alone, after STEPS."""


class Watched(BoundObjective):
    """Notes every loss that it tells; for one row."""

    told: list[float]

    def loss(self, theta: Tensor, on: Batch) -> Tensor:
        """Return f(θ), and note it."""
        value = super().loss(theta, on)
        self.told.append(float(value[0]))
        return value

    def gradient(self, theta: Tensor, on: Batch) -> tuple[Tensor, Tensor]:
        """Return f(θ) and ∇f(θ), and note the first."""
        value, gradient = super().gradient(theta, on)
        self.told.append(float(value[0]))
        return value, gradient


class Trial:
    """A method on a problem, a seed a row, before its first step."""

    def __init__(
        self, method: Method, problem: Problem, seeds: Sequence[int] = (0,), budget: int = STEPS
    ) -> None:
        self.method, self.problem = method, problem
        self.account = Account(Budget("gradients", 1e12), Clock(CPU))
        self.data = DeviceData.put(problem.data(DataSource(())), CPU, torch.float64)
        self.objective = Watched(problem, self.data, list(seeds), self.account)
        self.objective.told = []
        self.theta = initial_parameters(problem, list(seeds), CPU, torch.float64)
        self.state = method.init(self.theta, seeds[0], budget)
        self.reports: list[Mapping[str, Any]] = []
        self.costs: list[float] = []

    @torch.no_grad()
    def step(self, times: int = STEPS) -> Trial:
        """Make so many updates, or fewer where the method stops of itself."""
        for _ in range(times):
            if self.reports and "stop" in self.reports[-1]:
                break
            before = self.account.gradients
            self.reports.append(self.method.step(self.theta, self.objective, self.state))
            self.costs.append(self.account.gradients - before)
        return self

    @property
    def iterate(self) -> Tensor:
        """What is evaluated."""
        return self.method.iterate(self.theta, self.state)

    def loss(self) -> float:
        """Return f at the iterate, over all training cases; nobody is charged."""
        train = self.data.train
        return float(self.problem.passes().loss(self.iterate, train.inputs, train.targets))

    def saved(self) -> dict[str, Any]:
        """Return what a checkpoint holds, read back from its bytes: tensors and plain values."""
        file = io.BytesIO()
        state = self.method.state_dict(self.state)
        torch.save({"theta": self.theta, "state": state}, file)
        file.seek(0)
        read: dict[str, Any] = torch.load(file, weights_only=True)
        return {**read, "positions": self.objective.batches.positions()}

    def restore(self, saved: Mapping[str, Any]) -> Trial:
        """Go on from a checkpoint."""
        self.theta.copy_(saved["theta"])
        self.method.load_state_dict(self.state, saved["state"])
        self.objective.batches.move_to(saved["positions"])
        return self


class MethodLaws:
    """The laws for one method; `make` makes it anew each time."""

    def __init__(self, make: Callable[[], Method]) -> None:
        self.make = make

    def laws(self) -> dict[str, Law]:
        """Return every law by its name."""
        return {
            "hyperparameters are declared": self.declared,
            "lowers a convex quadratic": self.lowers,
            "reports the loss": self.reports,
            "ledger shows the declared cost": self.cost,
            "one seed, one run": self.repeats,
            "batches are left alone": self.batches,
            "state round trip is exact": self.round_trip,
            "interrupted is straight": self.resumes,
            "a row of a fleet is the trial alone": self.rows,
            "padding stays 0": self.padding,
        }

    def trial(self, seed: int = 0) -> Trial:
        """Return a new trial on the small network."""
        return Trial(self.make(), Network(), [seed])

    def declared(self) -> str:
        """See that the declaration accepts its own defaults, grids and ranges."""
        method = self.make()
        names = [h.name for h in method.space]
        expect(
            list(method.hyperparameters) == names,
            f"values for {', '.join(names) or 'nothing'}",
            ", ".join(method.hyperparameters) or "none",
        )
        for h in method.space:
            for value in (h.default, *h.grid, *(h.tune or ())):
                # Raises what a person would be told.
                cast = h.cast(value, method.name)
                expect(cast == value, f"{h.name}={value} as written", repr(cast))
        return ", ".join(f"{name}={method.hyperparameters[name]}" for name in names) or "none"

    def lowers(self) -> str:
        """See that the loss is lower after so many steps."""
        trial = Trial(self.make(), Quadratic(), budget=TO_LOWER)
        before = trial.loss()
        after = trial.step(TO_LOWER).loss()
        expect(
            after < before,
            f"less than {before:.6g} after {len(trial.reports)} steps on curvatures of 0.1 to 1",
            f"{after:.6g} (a smaller step in brackets may help, as in NAME[lr=0.01])",
        )
        return f"{before:.4g} to {after:.4g} in {len(trial.reports)} steps"

    def reports(self) -> str:
        """See that reports have "loss", (K,), as the objective told it, and otherwise numbers."""
        trial = self.trial()
        for number in range(1, 4):
            trial.objective.told.clear()
            trial.step(1)
            report, told = trial.reports[-1], trial.objective.told
            loss = report.get("loss")
            found = f"{tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            expect(found == "(1,)", 'a tensor "loss" of shape (1,)', found)
            for name, value in report.items():
                wanted: tuple[type, ...] = (str,) if name == "stop" else (int, float)
                kind = type(value).__name__
                expect(name == "loss" or isinstance(value, wanted), f"a number as {name!r}", kind)
            # The loss of several batches may be reported as their mean.
            expect(bool(told), f"a gradient or loss asked for in step {number}", "none")
            low, high, value = min(told), max(told), float(report["loss"])
            expect(
                low - EXACT * abs(low) <= value <= high + EXACT * abs(high),
                f"what the objective told in step {number}, {low:.9g} to {high:.9g}",
                f"{value:.9g}",
            )
        return f"{float(trial.reports[0]['loss']):.6g} at the first step"

    def cost(self) -> str:
        """See that every step costs what the method says that it costs."""
        trial = self.trial().step()
        expect(sum(trial.costs) > 0, "steps that the ledger shows", "none: nothing was spent")
        declared = trial.method.cost_of_a_step
        spent = ", ".join(f"{cost:.6g}" for cost in sorted(set(trial.costs)))
        if declared is None:
            raise NotApplicable(f"a step has no fixed cost; {STEPS} steps: {spent}")
        for cost in trial.costs:
            near("gradient-equivalents of a step", _only(cost), _only(declared))
        return f"{declared:g} gradient-equivalents a step"

    def repeats(self) -> str:
        """See that a seed gives one run, bit for bit, and no global stream is drawn from."""
        with undisturbed("training"):
            first, again, other = (self.trial(seed).step() for seed in (0, 0, 1))
        expect(equal(first.iterate, again.iterate), "the same parameters again", "others")
        expect(not equal(first.iterate, other.iterate), "others under another seed", "the same")
        return f"{len(first.reports)} steps, bit for bit"

    def batches(self) -> str:
        """See that training data is not written to."""
        trial = self.trial()
        before = trial.data.train.inputs.clone(), trial.data.train.targets.clone()
        trial.step()
        after = trial.data.train.inputs, trial.data.train.targets
        expect(equal(before, after), "training cases as they were", "cases that were written to")
        return f"{len(trial.reports)} steps"

    def round_trip(self) -> str:
        """See that what was saved comes back, in memory of its own."""
        trial = self.trial().step(5)
        saved = trial.method.state_dict(trial.state)
        kept = copy.deepcopy(saved)
        other = self.trial(1).step(2)
        other.theta.copy_(trial.theta)
        other.method.load_state_dict(other.state, saved)
        found = other.method.state_dict(other.state)
        wrong = [name for name in kept if not equal(kept[name], found.get(name))]
        expect(not wrong, "the state that was saved", f"another {', '.join(wrong)}")
        trial.step(2)
        other.step(2)
        expect(equal(saved, kept), "a copy that later steps do not write to", "one that they do")
        return f"{len(kept)} entries: {', '.join(kept)}"

    def resumes(self) -> str:
        """See that a run from a checkpoint is the run that was never interrupted."""
        straight = self.trial().step()
        for at in (0, STEPS // 2):
            saved = self.trial().step(at).saved()
            resumed = self.trial().restore(saved).step(STEPS - at)
            different = int((resumed.iterate != straight.iterate).sum())
            off = float((resumed.iterate - straight.iterate).abs().max())
            expect(
                different == 0,
                f"the same parameters, bit for bit, after a stop at step {at}",
                f"{different} that differ, by up to {off:.3g}",
            )
        return f"stopped at steps 0 and {STEPS // 2} of {STEPS}"

    def rows(self) -> str:
        """See that a row of a fleet ends where the trial alone does."""
        method = self.make()
        if method.fleet_key is None:
            raise NotApplicable("one trial at a time")
        together = Trial(method.join([self.make()]), Network(), [0, 1]).step()
        worst = 0.0
        for row in range(2):
            alone = self.trial(row).step()
            worst = max(worst, near(f"row {row}", together.iterate[row], alone.iterate[0], ROWS))
        expect(
            together.account.gradients == alone.account.gradients,
            f"{alone.account.gradients:g} gradient-equivalents a row",
            f"{together.account.gradients:g}",
        )
        return f"relative difference {worst:.1e}, K = 2"

    def padding(self) -> str:
        """See that padding stays 0 in θ and in what is evaluated."""
        trial = self.trial().step()
        unused = torch.ones(1, trial.problem.layout.size, dtype=torch.bool)
        for view in trial.problem.layout.views(unused).values():
            view.fill_(False)
        for what, value in (("θ", trial.theta), ("the iterate", trial.iterate)):
            found = int(value[unused].count_nonzero())
            expect(found == 0, f"0 in the padding of {what}", f"{found} values that are not")
        return f"{int(unused.sum())} values"


def _only(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)
