"""The laws of a method's steps: what each does, and what it may not do."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from bench.harness.check.laws import (
    NotApplicable,
    check_close,
    equal_bits,
    expect,
    unchanged_torch_settings,
)
from bench.harness.check.method_trials import FEW, MethodTrials, in_words
from bench.harness.check.observed_trial import STEPS, ObservedTrial
from bench.harness.core.spec import name_text
from bench.optim.hyperparameters import Hyperparameter
from bench.optim.objective import Method
from bench.optim.plugins import short
from bench.optim.values import Value, is_number


class StepLaws(MethodTrials):
    """What a step declares, changes, reports and costs."""

    def declared(self) -> str:
        """Check that the declaration accepts its own defaults, grids and ranges."""
        method = self.make()
        names = [h.name for h in method.space]
        expect(
            list(method.hyperparameters) == names,
            f"values for {', '.join(names) or 'nothing'}",
            ", ".join(method.hyperparameters) or "none",
        )
        for h in method.space:
            for value in (h.default, *h.grid, *(h.tune or ())):
                # Raises the error that a user would see.
                cast = h.cast(value, method.name)
                expect(cast == value, f"{h.name}={value} as written", repr(cast))
        values = [f"{name}={name_text(method.hyperparameters[name])}" for name in names]
        return ", ".join(values) or "none"

    def inputs(self) -> str:
        """Check that steps do not change cases, hyperparameters or torch's settings."""
        with unchanged_torch_settings():
            # Its first steps may already be those by which `dtype` is found.
            trial = self.trial()
            given = copy.deepcopy(dict(trial.method.hyperparameters))
            before = copy.deepcopy(trial.data)
            trial.step()
            for name in ("train", "test"):
                a, b = getattr(before, name), getattr(trial.data, name)
                same = equal_bits((a.inputs, a.targets), (b.inputs, b.targets))
                expect(same, f"unchanged {name}ing cases", "cases that a step has written to")
            now = dict(trial.method.hyperparameters)
            expect(equal_bits(given, now), f"unchanged hyperparameters, {given}", f"{now}")
        return f"{len(trial.reports)} steps"

    def in_float64(self) -> str:
        """Say whether steps can be made in float64, in which the other laws are checked."""
        try:
            ObservedTrial(self.make(), self.network()).step(FEW)
        except Exception as error:
            if self.dtype == torch.float64:
                raise
            raise NotApplicable(
                f"it raises there ({short(error).rstrip('.')}), so all laws are checked in float32"
            ) from error
        return f"{FEW} steps"

    def moves(self) -> str:
        """Check that θ stays one tensor of its type and shape, and that the result moves."""
        trial = self.trial()
        kind, begin = (trial.theta.dtype, trial.theta.shape), trial.iterate.clone()
        trial.step(1)
        now = trial.theta.dtype, trial.theta.shape
        expect(now == kind, f"θ of {in_words(kind)}", f"{in_words(now)}")
        at = trial.step_until_moved().iterate
        expect(at.shape == begin.shape, f"an iterate of {tuple(begin.shape)}", f"{tuple(at.shape)}")
        moved = float((at - begin).abs().max())
        steps = len(trial.reports)
        expect(moved != 0, f"other parameters after {steps} steps", "those of the start")
        return f"by up to {moved:.3g} in {steps} steps"

    def effects(self) -> str:
        """Check that `lr` changes the run, of every part of a route; name what else has not.

        Many act only later or together with others, so those are only named.
        """
        method = self.make()
        rates = {h.name for h in method.space if h.name.rpartition(".")[2] == "lr"}
        if not rates:
            raise NotApplicable("there is no lr")
        first = self.trial().step_until_moved()
        steps = len(first.reports) + FEW
        end = first.step(FEW).iterate
        without = []
        for h in method.space:
            other = self._with_another(h)
            if other and equal_bits(self.observed(other).step(steps).iterate, end):
                without.append(h.name)
        idle = rates & set(without)
        expect(not idle, f"another run with another {', '.join(idle)}", "the same parameters")
        no_effect = f"; no effect of {', '.join(without)}" if without else ""
        return f"another lr gives another run within {steps} steps{no_effect}"

    def _with_another(self, h: Hyperparameter) -> Method | None:
        """Return the method with another value of one hyperparameter; None if none is accepted."""
        value = self.make().hyperparameters[h.name]
        for other in _others(value):
            try:
                method = self.make(**{h.name: other})
                # Some values are refused only by the first step.
                self.observed(method).step(1)
            except Exception:
                continue
            if method.hyperparameters[h.name] != value:
                return self.make(**{h.name: other})
        return None

    def reports(self) -> str:
        """Check that reports have "loss" (K,), as the objective returned it, and else numbers."""
        trial = self.trial()
        for number in range(1, 4):
            trial.step(1)
            report, losses = trial.reports[-1], [float(each.loss) for each in trial.asked]
            loss = report.get("loss")
            found = f"{tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            expect(found == "(1,)", 'a tensor "loss" of shape (1,)', found)
            for name, value in report.items():
                wanted: tuple[type, ...] = (str,) if name == "stop" else (int, float)
                kind = type(value).__name__
                expect(name == "loss" or isinstance(value, wanted), f"a number as {name!r}", kind)
            # A method may report the mean loss of several batches.
            expect(bool(losses), f"a gradient or loss evaluated in step {number}", "none")
            low, high, value = min(losses), max(losses), float(report["loss"])
            expect(
                low - self.exact * abs(low) <= value <= high + self.exact * abs(high),
                f"a loss that the objective returned in step {number}, {low:.9g} to {high:.9g}",
                f"{value:.9g}",
            )
        return f"{float(trial.reports[0]['loss']):.6g} at the first step"

    def evaluates(self) -> str:
        """Check that each loss is that of the current θ, and that θ changes from step to step.

        The cases also change from step to step, so that a stored old loss would be wrong.
        """
        trial, passes, count = self.trial(), self.network().passes(), 0
        before = asked = torch.empty(0)
        for number in range(1, 4):
            moved, before = not equal_bits(trial.theta, before), trial.theta.clone()
            trial.step(1)
            for each in trial.asked:
                expected = passes.loss(each.theta, each.cases.inputs, each.cases.targets)
                check_close(f"a loss in step {number}", each.loss, expected, self.exact)
            count += len(trial.asked)
            again = moved and equal_bits(trial.asked[0].theta, asked)
            expect(not again, f"a new point in step {number}", "the point of the step before")
            asked = trial.asked[0].theta
            trial.data.train.inputs.mul_(0.9)
        return f"{count} evaluations in {number} steps"

    def cost(self) -> str:
        """Check that every step costs what the method declares."""
        trial = self.trial().step()
        expect(sum(trial.costs) > 0, "a charge to the ledger", "no charge in any step")
        declared = trial.method.cost_of_a_step
        spent = ", ".join(f"{cost:.6g}" for cost in sorted(set(trial.costs)))
        if declared is None:
            raise NotApplicable(f"a step has no fixed cost; {STEPS} steps: {spent}")
        for cost in trial.costs:
            check_close("gradient-equivalents of a step", _only(cost), _only(declared))
        return f"{declared:g} gradient-equivalents a step"


def _only(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def _others(value: Value) -> list[Value]:
    """Return other values to try in the place of one; for a word there are none."""
    if isinstance(value, str):
        return []
    if isinstance(value, bool):
        return [not value]
    return [_scaled(value, 0.5), _scaled(value, 2), 1, 0.1]


def _scaled(value: Value, by: float) -> Value:
    if isinstance(value, tuple):
        return tuple(_scaled(each, by) for each in value)
    return value * by if is_number(value) else value
