"""Judgement of a night: each metric is compared with its baseline and gets a state and a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.harness.analysis.noise import Noise, threshold
from bench.harness.analysis.sample import Floats, Sample
from bench.harness.analysis.summary import ENDED
from bench.harness.core.records import NightMetric, NightRecord

History = Sequence[tuple[NightRecord, NightMetric]]
"""The same metric in earlier nights of its series with an equal context, the oldest first."""
Values = Mapping[int, float | None]
"""Seed → final metric; None: the trial diverged."""


@dataclass(frozen=True)
class FinalValues:
    """The final values of one method in a comparison."""

    values: Values
    without: int
    """The number of trials without an outcome."""


def final_values(row: Mapping[str, Any]) -> FinalValues:
    """Return the final values of a method's trials from its row of a summary."""
    values = {trial["seed"]: trial["train"] for trial in row["trials"] if trial["status"] in ENDED}
    return FinalValues(values, len(row["trials"]) - len(values))


def judge_digest(found: NightMetric, history: History, commit: str | None) -> NightMetric:
    """Compare a digest with the first one of its series; for a new digest, name the commit."""
    if not history:
        return replace(found, state="new", reason="This is the first value in this context.")
    first = history[0][1].digest
    if found.digest == first:
        return replace(found, state="same")
    # Nights are in order, so all nights after the last one with the old digest have a new one.
    last = max(n for n, (_, metric) in enumerate(history) if metric.digest == first)
    before = history[last][0]
    after = history[last + 1][0] if last + 1 < len(history) else None
    since = f"since the night of {after.created:%Y-%m-%d}, at " if after else "tonight, at "
    return replace(
        found,
        state="changed",
        reason=(
            f"θ differs {since}{_at(after.commit if after else commit)}. The last night with the "
            f"accepted θ was the night of {before.created:%Y-%m-%d}, at {_at(before.commit)}."
        ),
    )


def judge_quality(
    found: NightMetric,
    tonight: FinalValues,
    accepted: FinalValues | None,
    noise: Noise | None,
    family: int,
) -> NightMetric:
    """Compare a method's final values with the accepted ones over the seeds that both have.

    The value is their mean, or the mean of their logarithms if the metric's scale is "log". A
    diverged trial is worse than any finite one, so more diverged trials than before are always
    worse.
    """
    if accepted is None:
        found = replace(found, value=_mean(tonight, found.scale), n=len(tonight.values))
        return _not_judged(found, "The baseline has no comparison with this protocol and method.")
    if tonight.without:
        return _not_judged(found, f"{tonight.without} of the method's trials have no outcome.")
    seeds = sorted(set(tonight.values) & set(accepted.values))
    if not seeds:
        return _not_judged(found, "The accepted comparison has none of tonight's seeds.")
    found = replace(found, n=len(seeds))
    new, old = (np.array([_number(each.values[s]) for s in seeds]) for each in (tonight, accepted))
    gone, were = int(np.isnan(new).sum()), int(np.isnan(old).sum())
    if gone or were:
        reason = f"{gone} of {len(seeds)} trials diverged; in the baseline, {were} did."
        found = replace(found, reason=reason)
    if gone != were:
        return replace(found, state="worse" if gone > were else "better")
    if _equal(new, old):
        value = _mean(FinalValues({s: tonight.values[s] for s in seeds}, 0), found.scale)
        if value is not None and noise is not None and noise.sd is not None:
            return _compare_with_reference(found, value, value, noise, family)
        # Equal values need no noise to be judged.
        return replace(found, state="same", value=value, reference=value)
    finite = ~np.isnan(new) & ~np.isnan(old)
    new, old = new[finite], old[finite]
    if not len(new):
        return _not_judged(found, f"{found.reason} No seed has a finite value in both comparisons.")
    found = replace(found, n=len(new))
    if found.scale == "log":
        if min(new.min(), old.min()) <= 0:
            return _not_judged(found, "A value is not positive, so it has no logarithm.")
        new, old = np.log(new), np.log(old)
    return _compare_with_reference(found, float(new.mean()), float(old.mean()), noise, family)


def judge_time(
    found: NightMetric,
    history: History,
    noise: Noise | None,
    family: int,
    again: float | None = None,
) -> NightMetric:
    """Compare the logarithm of a relative time with the first one of its series.

    A finding counts only if a second measurement, `again`, confirms it.
    """
    assert found.value is not None
    if not history:
        return replace(found, state="new", reason="This is the first value in this context.")
    reference = history[0][1].value
    assert reference is not None
    first = _compare_with_reference(found, found.value, reference, noise, family)
    if again is None or not first.is_finding:
        return first
    second = _compare_with_reference(found, again, reference, noise, family)
    if second.state == first.state:
        return first
    return replace(
        second,
        state="same",
        reason="The time was beyond the threshold at first, but not when it was measured again.",
    )


def _compare_with_reference(
    found: NightMetric, value: float, reference: float, noise: Noise | None, family: int
) -> NightMetric:
    found = replace(found, value=value, reference=reference)
    if noise is None or noise.sd is None:
        why = noise.reason if noise else "Its noise is unknown; `bench noise` measures it."
        return _not_judged(found, why)
    assert found.n is not None
    # A mean over fewer seeds than planned scatters more.
    sd = noise.sd if found.kind == "time" else noise.sd * math.sqrt(noise.seeds / found.n)
    limit = threshold(sd, noise.df, family)
    found = replace(found, sd=sd, threshold=limit)
    difference = value - reference
    if abs(difference) <= limit:
        return replace(found, state="same")
    lower = difference < 0
    return replace(found, state="better" if lower == (found.direction == "lower") else "worse")


def _not_judged(found: NightMetric, reason: str) -> NightMetric:
    return replace(found, state="not judged", reason=reason)


def _mean(of: FinalValues, scale: str) -> float | None:
    values = [value for value in of.values.values() if value is not None]
    if not values or len(values) < len(of.values) or (scale == "log" and min(values) <= 0):
        return None
    return float(np.mean(np.log(values) if scale == "log" else values))


def _equal(new: Floats, old: Floats) -> bool:
    """Return whether the same trials diverged and the values of the others are equal.

    Values that differ by their rounding only are equal.
    """
    finite = np.isfinite(new)
    if not np.array_equal(finite, np.isfinite(old)):
        return False
    return not finite.any() or not any(Sample.differences(new[finite], old[finite]).exact)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _at(commit: str | None) -> str:
    return f"commit {commit[:12]}" if commit else "an unknown commit"
