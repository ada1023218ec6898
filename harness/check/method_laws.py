"""What every optimizer must satisfy, whoever wrote it, on two small problems in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.harness.check import minimum
from bench.harness.check.laws import (
    EXACT,
    Law,
    NotApplicable,
    equal,
    expect,
    near,
    settings_kept,
    undisturbed,
)
from bench.harness.check.observed_trial import STEPS, Trial
from bench.harness.check.small_problems import Network
from bench.harness.check.thread_ranks import together
from bench.harness.distributed.ranks import Ranks
from bench.optim.objective import Method

ROWS = 1e-10
"""Relative difference allowed between a row of a fleet and the trial alone, after STEPS."""
RANKS = 2
ROUNDINGS, CHAOTIC = 100, 1e-8
"""Sums in another order make as much as so many roundings of θ; of one this is too much."""


class MethodLaws:
    """The laws for one method; `make` makes it anew each time, with other values where given."""

    def __init__(self, make: Callable[..., Method]) -> None:
        self.make = make

    def laws(self) -> dict[str, Law]:
        """Return every law by its name."""
        return {
            "hyperparameters are declared": self.declared,
            # Before any other step: a setting that is changed is the same ever after.
            "inputs and settings are left alone": self.inputs,
            "reaches a quadratic's minimum": lambda: minimum.check(self.make),
            "reports the loss": self.reports,
            "evaluates anew at every point": self.evaluates,
            "ledger shows the declared cost": self.cost,
            "one seed, one run": self.repeats,
            "evaluation is not felt": self.evaluation,
            "state round trip is exact": self.round_trip,
            "interrupted is straight": self.resumes,
            "2 ranks are 1": self.ranks,
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

    def reports(self) -> str:
        """See that reports have "loss", (K,), as the objective told it, and otherwise numbers."""
        trial = self.trial()
        for number in range(1, 4):
            trial.step(1)
            report, told = trial.reports[-1], [float(each.loss) for each in trial.asked]
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

    def evaluates(self) -> str:
        """See that each loss is that of θ as it then is, computed apart, and that θ goes on.

        The cases change from step to step: a loss that is remembered would be another one's.
        """
        trial, passes, count = self.trial(), Network().passes(), 0
        before = asked = torch.empty(0)
        for number in range(1, 4):
            moved, before = not equal(trial.theta, before), trial.theta.clone()
            trial.step(1)
            for each in trial.asked:
                expected = passes.loss(each.theta, each.cases.inputs, each.cases.targets)
                near(f"a loss in step {number}", each.loss, expected)
            count += len(trial.asked)
            again = moved and equal(trial.asked[0].theta, asked)
            expect(not again, f"another point in step {number}", "that of the step before")
            asked = trial.asked[0].theta
            trial.data.train.inputs.mul_(0.9)
        return f"{count} evaluations in {number} steps"

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

    def inputs(self) -> str:
        """See that cases, hyperparameters and torch's settings are as before."""
        with settings_kept():
            trial = self.trial()
            given = copy.deepcopy(dict(trial.method.hyperparameters))
            before = copy.deepcopy(trial.data)
            trial.step()
            for name in ("train", "test"):
                a, b = getattr(before, name), getattr(trial.data, name)
                same = equal((a.inputs, a.targets), (b.inputs, b.targets))
                expect(same, f"{name}ing cases as they were", "cases that were written to")
            now = dict(trial.method.hyperparameters)
            expect(equal(given, now), f"hyperparameters as given, {given}", f"{now}")
        return f"{len(trial.reports)} steps"

    def evaluation(self) -> str:
        """See that a run whose iterate is looked at before each step is the same run."""
        straight, looked = self.trial().step(), self.trial()
        for _ in range(STEPS):
            assert isinstance(looked.iterate, Tensor)
            looked.step(1)
        off = float((looked.iterate - straight.iterate).abs().max())
        expect(
            equal(looked.iterate, straight.iterate),
            "the same parameters, bit for bit, whether or not it is evaluated",
            f"parameters that differ by up to {off:.3g}",
        )
        return f"looked at before each of {STEPS} steps"

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

    def ranks(self) -> str:
        """See that processes that share batches do what one does, all of them the same bits.

        They add in another order. Where one rounding of θ grows by itself to more than EXACT,
        ROUNDINGS times as much is allowed, and only steps are looked at where that is little.
        """

        def ends(ranks: Ranks) -> list[Tensor]:
            trial = Trial(self.make(), Network(), ranks=ranks)
            return [trial.step(1).iterate.clone() for _ in range(STEPS)]

        first, *others = together(RANKS, ends)
        same = all(equal(first, other) for other in others)
        expect(same, f"the same parameters on {RANKS} processes, bit for bit", "others")
        alone, rounded = self.trial(), self.trial()
        rounded.theta.mul_(1 + torch.finfo(torch.float64).eps)
        said = f"one rounding of θ grows to more than {CHAOTIC:g} in one step"
        for step, together_at in enumerate(first, 1):
            at, beside = alone.step(1).iterate, rounded.step(1).iterate
            grown = float((beside - at).abs().max() / at.abs().max())
            if not grown <= CHAOTIC:
                break
            allowed = max(EXACT * step, ROUNDINGS * grown)
            off = near(f"{RANKS} processes after step {step}", together_at, at, allowed)
            said = f"relative difference {off:.1e} after step {step}; {allowed:.1e} is allowed"
        return f"the same bits on {RANKS} processes; {said}"

    def rows(self) -> str:
        """See that a row of a fleet ends where the trial alone does, whatever its mate does."""
        pair = self._pair()
        if pair[0].fleet_key is None:
            raise NotApplicable("one trial at a time")
        fleet, worst = self._fleet(pair).step(), 0.0
        for row, method in enumerate(self._pair()):
            alone = Trial(method, Network(), [row]).step()
            worst = max(worst, near(f"row {row}", fleet.iterate[row], alone.iterate[0], ROWS))
        expect(
            fleet.account.gradients == alone.account.gradients,
            f"{alone.account.gradients:g} gradient-equivalents a row",
            f"{fleet.account.gradients:g}",
        )
        spoilt = self._fleet(self._pair())
        spoilt.theta[1, 0] = torch.nan
        spoilt.step()
        expect(
            equal(spoilt.iterate[0], fleet.iterate[0]),
            "row 0 as it was, bit for bit, where row 1 is NaN",
            "another",
        )
        return f"relative difference {worst:.1e}, K = 2"

    def _pair(self) -> Sequence[Method]:
        """Return two methods that may share a fleet; with other step sizes, if they have any."""
        one = self.make()
        if "lr" in one.hyperparameters:
            other = self.make(lr=one.hyperparameters["lr"] / 2)
            if other.fleet_key == one.fleet_key:
                return one, other
        return one, self.make()

    def _fleet(self, methods: Sequence[Method]) -> Trial:
        first, *others = methods
        return Trial(first.join(others), Network(), range(len(methods)))

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
