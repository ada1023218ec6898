"""The laws that every optimizer must satisfy, on two small problems."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bench.harness.check import averages, minimum
from bench.harness.check.laws import (
    EXACT,
    Finding,
    Law,
    NotApplicable,
    check_close,
    check_laws,
    equal_bits,
    expect,
    one_thread,
    unchanged_random_streams,
    unchanged_torch_settings,
)
from bench.harness.check.observed_trial import STEPS, ObservedTrial
from bench.harness.check.small_problems import network_for
from bench.harness.check.thread_ranks import run_on_ranks
from bench.harness.core.spec import name_text
from bench.harness.distributed.ranks import Ranks
from bench.harness.training.anytime import anytime_updates
from bench.models.problem import Problem
from bench.optim.hyperparameters import Hyperparameter
from bench.optim.objective import Method
from bench.optim.plugins import short
from bench.optim.random_streams import RandomStreams
from bench.optim.values import Value, is_number

ROWS = 1e-10
"""Allowed relative difference between a row of a fleet and the trial alone, after STEPS."""
LONGER = 4 * STEPS
"""Updates of a longer run."""
RANKS, FEW = 2, 5
ROUNDINGS, CHAOTIC, CHAOTIC_FLOAT32 = 100, 1e-8, 1e-3
"""Another order of sums has at most the effect of ROUNDINGS roundings of θ. A step in which one
rounding grows to more than CHAOTIC is not compared."""

QUICK = (
    "inputs and settings stay unchanged",
    "moves the parameters it is given",
    "reports the loss",
    "evaluates the loss at every new point",
    "ledger shows the declared cost",
    "same seed, same run",
    "trials do not change each other",
    "a longer run begins the same way",
    "an average that it keeps is evaluated",
    "evaluation does not change the run",
)
"""Laws without which a result may be wrong and nothing says so; the others take longer."""


def quick_laws(make: Callable[..., Method]) -> list[Finding]:
    """Check the laws named in QUICK; `make` creates the method each time, with values if given.

    What the method prints goes to stderr. It takes about as long as 200 steps on a tiny network.
    """
    with one_thread():
        return check_laws(MethodLaws(make).quick())


class MethodLaws:
    """The laws for one method; `make` creates it each time, with other values if given."""

    def __init__(self, make: Callable[..., Method]) -> None:
        self.make = make

    def laws(self) -> dict[str, Law]:
        """Return every law by its name."""
        return {
            "hyperparameters are declared": self.declared,
            # Before all other steps: a setting that a step changes stays changed afterwards.
            "inputs and settings stay unchanged": self.inputs,
            "steps in float64": self.in_float64,
            "moves the parameters it is given": self.moves,
            "the step size takes effect": self.effects,
            "reaches the minimum of a quadratic": lambda: minimum.check(self.make, self.dtype),
            "reports the loss": self.reports,
            "evaluates the loss at every new point": self.evaluates,
            "ledger shows the declared cost": self.cost,
            "same seed, same run": self.repeats,
            "trials do not change each other": self.others,
            "a longer run begins the same way": self.longer,
            "an average that it keeps is evaluated": lambda: averages.check(self.make, self.dtype),
            "evaluation does not change the run": self.evaluation,
            "saved state is restored exactly": self.round_trip,
            "a resumed run equals a straight run": self.resumes,
            "2 ranks equal 1 process": self.ranks,
            "a row of a fleet equals the trial alone": self.rows,
            "padding stays 0": self.padding,
        }

    def quick(self) -> dict[str, Law]:
        """Return the laws that cost a few steps each, by name, for every comparison to try."""
        return {name: law for name, law in self.laws().items() if name in QUICK}

    @cached_property
    def dtype(self) -> torch.dtype:
        """The type in which laws are checked: float64, or float32 for a method that raises there.

        Some optimizers of others mix types, and train only in float32.
        """
        trial = ObservedTrial(self.make(), self.network())
        try:
            trial.step(FEW)
        except Exception:
            # One that turns θ into float32 is told by a law.
            if trial.theta.dtype == torch.float64:
                with suppress(Exception):
                    ObservedTrial(self.make(), self.network(), dtype=torch.float32).step(FEW)
                    return torch.float32
        return torch.float64

    @property
    def exact(self) -> float:
        """The relative difference that rounding in this type explains."""
        return EXACT * torch.finfo(self.dtype).eps / torch.finfo(torch.float64).eps

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

    def network(self) -> Problem:
        """Return a new small network that the method can train."""
        return network_for(self.make())

    def trial(self, seed: int = 0, dtype: torch.dtype | None = None) -> ObservedTrial:
        """Return a new trial on the small network."""
        return self._observed(self.make(), [seed], dtype=dtype or self.dtype)

    def _observed(self, method: Method, seeds: Sequence[int] = (0,), **given: Any) -> ObservedTrial:
        return ObservedTrial(method, self.network(), seeds, **{"dtype": self.dtype, **given})

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
            if other and equal_bits(self._observed(other).step(steps).iterate, end):
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
                self._observed(method).step(1)
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

    def moves(self) -> str:
        """Check that θ stays one tensor of its type and shape, and that the result moves."""
        trial = self.trial()
        kind, begin = (trial.theta.dtype, trial.theta.shape), trial.iterate.clone()
        trial.step(1)
        now = trial.theta.dtype, trial.theta.shape
        expect(now == kind, f"θ of {_in_words(kind)}", f"{_in_words(now)}")
        at = trial.step_until_moved().iterate
        expect(at.shape == begin.shape, f"an iterate of {tuple(begin.shape)}", f"{tuple(at.shape)}")
        moved = float((at - begin).abs().max())
        steps = len(trial.reports)
        expect(moved != 0, f"other parameters after {steps} steps", "those of the start")
        return f"by up to {moved:.3g} in {steps} steps"

    def repeats(self) -> str:
        """Check that a seed gives the same run bit for bit, whatever the process drew before.

        What the method draws from a global stream is held by the trial's seed.
        """
        dtypes = list(dict.fromkeys((self.dtype, torch.float32)))
        for dtype in dtypes:
            with unchanged_random_streams("training"):
                runs = []
                for number, seed in enumerate((0, 0, 1)):
                    with RandomStreams.seeded(number).in_place():
                        runs.append(self.trial(seed, dtype).step().iterate)
            first, again, other = runs
            off = float((first - again).abs().max())
            expect(
                equal_bits(first, again),
                f"the same parameters again in {_in_words((dtype,))}",
                f"parameters that differ by up to {off:.3g}. It may keep state outside a trial, or "
                "draw random numbers in its constructor or from a generator that no seed sets",
            )
            expect(not equal_bits(first, other), "others under another seed", "the same")
        return f"{STEPS} steps, bit for bit, in {' and '.join(_in_words((d,)) for d in dtypes)}"

    def others(self) -> str:
        """Check that a trial ends at the same bits alone and beside another trial."""
        alone = [self.trial(seed).step(FEW).iterate.clone() for seed in (0, 1)]
        beside = [self.trial(seed) for seed in (0, 1)]
        for _ in range(FEW):
            for trial in beside:
                trial.step(1)
        for trial, expected in zip(beside, alone, strict=True):
            found = trial.iterate
            off = float((found - expected).abs().max())
            expect(
                equal_bits(found, expected),
                "the parameters that the trial has alone, bit for bit",
                f"parameters that differ by up to {off:.3g} where another trial makes steps in "
                "between. It may keep state in its class or module",
            )
        return f"{FEW} steps of two trials in turn"

    def longer(self) -> str:
        """Check that a longer run begins with the updates that do not depend on the budget's end.

        The method says how many these are (`anytime_updates`); where it does not, they are all.
        """
        declared = anytime_updates(self.make(), STEPS)
        same = STEPS if declared is None else declared
        if not same:
            raise NotApplicable("every update depends on where the budget ends, as it declares")
        short, long = (
            self._observed(self.make(), budget=budget).step(same).iterate
            for budget in (STEPS, LONGER)
        )
        # A look-ahead point that is taken back rounds.
        off = float((short - long).abs().max() / long.abs().max())
        expect(
            off <= ROWS,
            f"the same parameters after {same} updates under budgets of {STEPS} and {LONGER}",
            f"a relative difference of {off:.2g}. If an update depends on where the budget ends, "
            "say so with `anytime_updates`: a time to a target is then not compared with others",
        )
        return f"{same} updates, under budgets of {STEPS} and {LONGER}"

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

    def evaluation(self) -> str:
        """Check that a run does not change if its iterate is evaluated before each step."""
        straight, evaluated = self.trial().step(), self.trial()
        for _ in range(STEPS):
            assert isinstance(evaluated.iterate, Tensor)
            evaluated.step(1)
        off = float((evaluated.iterate - straight.iterate).abs().max())
        expect(
            equal_bits(evaluated.iterate, straight.iterate),
            "the same parameters, bit for bit, whether or not it is evaluated",
            f"parameters that differ by up to {off:.3g}",
        )
        return f"evaluated before each of {STEPS} steps"

    def round_trip(self) -> str:
        """Check that a saved state is restored exactly, and shares no memory with the run."""
        trial = self.trial().step(5)
        saved = trial.method.state_dict(trial.state)
        kept = copy.deepcopy(saved)
        other = self.trial(1).step(2)
        other.theta.copy_(trial.theta)
        other.method.load_state_dict(other.state, saved)
        found = other.method.state_dict(other.state)
        wrong = [name for name in kept if not equal_bits(kept[name], found.get(name))]
        expect(not wrong, "the state that was saved", f"another {', '.join(wrong)}")
        trial.step(2)
        other.step(2)
        expect(
            equal_bits(saved, kept),
            "a saved state that later steps do not change",
            "a state that they change",
        )
        return f"{len(kept)} entries: {', '.join(kept)}"

    def resumes(self) -> str:
        """Check that a run from a checkpoint equals the uninterrupted run."""
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
        """Check that processes that share batches do what one process does, with equal bits.

        They sum in another order. If one rounding of θ alone grows to more than EXACT, ROUNDINGS
        times its growth is allowed, and steps after chaotic growth are not compared.
        """

        def ends(ranks: Ranks) -> list[Tensor]:
            trial = self._observed(self.make(), ranks=ranks)
            return [trial.step(1).iterate.clone() for _ in range(STEPS)]

        first, *others = run_on_ranks(RANKS, ends)
        same = all(equal_bits(first, other) for other in others)
        expect(same, f"the same parameters on {RANKS} processes, bit for bit", "others")
        alone, rounded = self.trial(), self.trial()
        chaotic = CHAOTIC if self.dtype == torch.float64 else CHAOTIC_FLOAT32
        rounded.theta.mul_(1 + torch.finfo(self.dtype).eps)
        result = f"one rounding of θ grows to more than {chaotic:g} in one step"
        for step, together_at in enumerate(first, 1):
            at, beside = alone.step(1).iterate, rounded.step(1).iterate
            grown = float((beside - at).abs().max() / at.abs().max())
            if not grown <= chaotic:
                break
            allowed = max(self.exact * step, ROUNDINGS * grown)
            off = check_close(f"{RANKS} processes after step {step}", together_at, at, allowed)
            result = f"relative difference {off:.1e} after step {step}; {allowed:.1e} is allowed"
        return f"the same bits on {RANKS} processes; {result}"

    def rows(self) -> str:
        """Check that a row of a fleet ends like the trial alone, whatever other rows do."""
        pair = self._pair()
        if pair[0].fleet_key is None:
            raise NotApplicable("one trial at a time")
        fleet, worst = self._fleet(pair).step(), 0.0
        for row, method in enumerate(self._pair()):
            alone = self._observed(method, [row]).step()
            worst = max(
                worst, check_close(f"row {row}", fleet.iterate[row], alone.iterate[0], ROWS)
            )
        expect(
            fleet.account.gradients == alone.account.gradients,
            f"{alone.account.gradients:g} gradient-equivalents a row",
            f"{fleet.account.gradients:g}",
        )
        spoilt = self._fleet(self._pair())
        spoilt.theta[1, 0] = torch.nan
        spoilt.step()
        expect(
            equal_bits(spoilt.iterate[0], fleet.iterate[0]),
            "row 0 unchanged, bit for bit, if row 1 is NaN",
            "a changed row 0",
        )
        return f"relative difference {worst:.1e}, K = 2"

    def _pair(self) -> Sequence[Method]:
        """Return two methods that can share a fleet, with different step sizes if possible."""
        one = self.make()
        if is_number(one.hyperparameters.get("lr")):
            other = self.make(lr=one.hyperparameters["lr"] / 2)
            if other.fleet_key == one.fleet_key:
                return one, other
        return one, self.make()

    def _fleet(self, methods: Sequence[Method]) -> ObservedTrial:
        first, *others = methods
        return self._observed(first.join(others), range(len(methods)))

    def padding(self) -> str:
        """Check that padding stays 0 in θ and in the evaluated parameters."""
        trial = self.trial().step()
        unused = torch.ones(1, trial.problem.layout.size, dtype=torch.bool)
        for view in trial.problem.layout.views(unused).values():
            view.fill_(False)
        for what, value in (("θ", trial.theta), ("the iterate", trial.iterate)):
            found = int(value[unused].count_nonzero())
            expect(found == 0, f"0 in the padding of {what}", f"{found} values that are not")
        return f"{int(unused.sum())} values"


def _in_words(kind: tuple[Any, ...]) -> str:
    """Say a type, and a shape if there is one.

    >>> _in_words((torch.float32, torch.Size([1, 2])))
    'float32 and shape (1, 2)'
    """
    dtype, *shape = kind
    return " and shape ".join([str(dtype).removeprefix("torch."), *(str(tuple(s)) for s in shape)])


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
