"""The laws of a method's runs: a run depends on its seed and its budget, and on nothing else."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from bench.harness.check.laws import (
    NotApplicable,
    equal_bits,
    expect,
    unchanged_random_streams,
)
from bench.harness.check.method_trials import FEW, ROWS, MethodTrials, in_words
from bench.harness.check.observed_trial import STEPS
from bench.harness.training.anytime import anytime_updates
from bench.optim.random_streams import RandomStreams

LONGER = 4 * STEPS
"""Updates of a longer run."""


class RunLaws(MethodTrials):
    """What is the same in two runs: alone, beside others, evaluated, longer, or resumed."""

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
                f"the same parameters again in {in_words((dtype,))}",
                f"parameters that differ by up to {off:.3g}. It may keep state outside a trial, or "
                "draw random numbers in its constructor or from a generator that no seed sets",
            )
            expect(not equal_bits(first, other), "others under another seed", "the same")
        return f"{STEPS} steps, bit for bit, in {' and '.join(in_words((d,)) for d in dtypes)}"

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
            self.observed(self.make(), budget=budget).step(same).iterate
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
