"""The laws of a method on several ranks, in a fleet of several rows, and on padded parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.harness.check.laws import NotApplicable, check_close, equal_bits, expect
from bench.harness.check.method_trials import ROWS, MethodTrials
from bench.harness.check.observed_trial import STEPS, ObservedTrial
from bench.harness.check.thread_ranks import run_on_ranks
from bench.harness.distributed.ranks import Ranks
from bench.optim.objective import Method
from bench.optim.values import is_number

RANKS = 2
ROUNDINGS, CHAOTIC, CHAOTIC_FLOAT32 = 100, 1e-8, 1e-3
"""Another order of sums has at most the effect of ROUNDINGS roundings of θ. A step in which one
rounding grows to more than CHAOTIC is not compared."""


class FleetLaws(MethodTrials):
    """What ranks, rows and padding may not change."""

    def ranks(self) -> str:
        """Check that processes that share batches do what one process does, with equal bits.

        They sum in another order. If one rounding of θ alone grows to more than EXACT, ROUNDINGS
        times its growth is allowed, and steps after chaotic growth are not compared.
        """

        def ends(ranks: Ranks) -> list[Tensor]:
            trial = self.observed(self.make(), ranks=ranks)
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
            alone = self.observed(method, [row]).step()
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
        return self.observed(first.join(others), range(len(methods)))

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
