"""Sentences beside a verdict: what else differs between two methods than how good they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.harness.core.defaults import keeps_tuned_values, tuned_origin, tuned_values
from bench.harness.core.records import TrialRecord
from bench.harness.core.spec import Protocol

Tuning = Mapping[str, Any]

UNEQUAL = 1.01
"""Amounts that differ by less than 1 % are called equal."""
HORIZONS = frozenset(
    "horizon decay_steps max_iterations max_steps num_iterations num_steps num_training_steps "
    "t_max t_total total_iterations total_iters total_steps total_updates train_steps "
    "training_steps".split()
)
"""Hyperparameters, in small letters, that say after how many updates a schedule ends."""
_WORDS = {
    "gradients": "gradient-equivalents",
    "updates": "updates",
    "examples": "training cases",
    "seconds": "seconds",
}


def cautions(
    a: Sequence[TrialRecord],
    b: Sequence[TrialRecord],
    protocol: Protocol,
    tuning: Mapping[str, Tuning],
) -> list[str]:
    """Return a sentence for each inequality between the trials of two methods that have ended."""
    if not a or not b:
        return []
    return [*_tuned(a, b, protocol, tuning), *_amounts(a, b, protocol), *_horizons(a, b, protocol)]


def _tuned(
    a: Sequence[TrialRecord],
    b: Sequence[TrialRecord],
    protocol: Protocol,
    tuning: Mapping[str, Tuning],
) -> list[str]:
    # A method without hyperparameters has nothing to tune.
    if not (a[0].hyperparameters and b[0].hyperparameters):
        return []
    one, other = (_effort(trials[0], protocol, tuning) for trials in (a, b))
    if bool(one) == bool(other):
        trials = [(tuning.get(t[0].method) or {}).get("trials", 0) for t in (a, b)]
        if all(trials) and trials[0] != trials[1]:
            return [
                f"{a[0].method} was tuned with {trials[0]} trials, and {b[0].method} with "
                f"{trials[1]}."
            ]
        return []
    tuned, untuned = (a, b) if one else (b, a)
    return [
        f"{tuned[0].method} was tuned for this problem ({one or other}), and "
        f"{untuned[0].method} was not: its values are general defaults, or were written by hand."
    ]


def _effort(trial: TrialRecord, protocol: Protocol, tuning: Mapping[str, Tuning]) -> str:
    """Return how a method was tuned; empty if nothing says that it was."""
    if count := (tuning.get(trial.method) or {}).get("trials", 0):
        return f"with {count} tuning trials"
    names = (protocol.problem, protocol.preset, trial.method_name)
    if not tuned_values(*names) or "tuned by:" not in (tuned_origin(*names) or ""):
        return ""
    kept = keeps_tuned_values(*names, trial.hyperparameters)
    return "its defaults come from a tuning run" if kept else ""


def _amounts(a: Sequence[TrialRecord], b: Sequence[TrialRecord], protocol: Protocol) -> list[str]:
    """Compare what was computed from the data, where the budget does not count it."""
    if protocol.budget.currency != "updates":
        return []
    # A trial that diverged has spent less, whatever its updates cost.
    whole = [[t for t in trials if t.status == "budget"] for trials in (a, b)]
    if not all(whole):
        return []
    for currency in ("examples", "gradients"):
        one, other = (_spent(trials, currency) for trials in whole)
        if _differ(*(_spent(t, currency) / max(_spent(t, "updates"), 1) for t in whole)):
            return [
                "The budget counts updates, and these cost different amounts: per trial, "
                f"{a[0].method} used {_number(one)} {_WORDS[currency]}, and {b[0].method} "
                f"{_number(other)}."
            ]
    return []


def _horizons(a: Sequence[TrialRecord], b: Sequence[TrialRecord], protocol: Protocol) -> list[str]:
    """Say where schedules or trials do not end where the budget does."""
    said = []
    for trials in (a, b):
        updates = _spent(trials, "updates")
        for name, value in trials[0].hyperparameters.items():
            if name.lower() not in HORIZONS or not _is_count(value):
                continue
            if _differ(float(value), updates):
                said.append(
                    f"The schedule of {trials[0].method} ends after {_number(float(value))} "
                    f"updates ({name}), and its trials ended after {_number(updates)}."
                )
    currency = protocol.budget.currency
    # A diverged trial ends early, and is counted as diverged.
    whole = [[t for t in trials if t.status == "budget"] for trials in (a, b)]
    if all(whole):
        one, other = (_spent(trials, currency) for trials in whole)
        # An update is not divided, so a trial may stop one before the budget's end.
        steps = max(_spent(t, currency) / max(_spent(t, "updates"), 1) for t in whole)
        if abs(one - other) > max(2 * steps, 0.02 * max(one, other)):
            said.append(
                f"The trials end at different points: per trial, {a[0].method} spent "
                f"{_number(one)} {_WORDS[currency]}, and {b[0].method} {_number(other)}."
            )
    return said


def _spent(trials: Sequence[TrialRecord], currency: str) -> float:
    return fmean(float(getattr(trial.ledger, currency)) for trial in trials)


def _differ(one: float, other: float) -> bool:
    return max(one, other) > UNEQUAL * min(one, other)


def _is_count(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
