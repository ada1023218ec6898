"""How much of recorded trials does not depend on where their budget ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from bench.harness.core.records import TrialRecord
from bench.harness.core.spec import Budget, Protocol
from bench.harness.training.anytime import anytime_updates
from bench.harness.training.fleet import budgeted_updates
from bench.optim.hyperparameters import UsageError
from bench.optim.registry import BUILT_IN, find


def with_anytime_updates(
    trials: Sequence[TrialRecord], protocols: Iterable[Protocol]
) -> list[TrialRecord]:
    """Return the trials with what earlier versions of bench did not record of built-in methods.

    A trial of another protocol than those given stays as it is.
    """
    budgets = {protocol.key: protocol.budget for protocol in protocols}
    return [replace(t, anytime_updates=_of(t, budgets.get(t.protocol_key))) for t in trials]


def _of(trial: TrialRecord, budget: Budget | None) -> int | None:
    known = trial.anytime_updates is not None
    if known or budget is None or trial.method_name not in BUILT_IN:
        return trial.anytime_updates
    try:
        method = find(trial.method_name)(trial.backend, **trial.hyperparameters)
    except UsageError:
        # A version that had other hyperparameters: nothing is known of it.
        return None
    return anytime_updates(method, budgeted_updates(method, budget))
