"""What a night has measured, held against its baseline: a state and a reason for each metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.harness.analysis.noise import Noise, threshold
from bench.harness.analysis.summary import ENDED
from bench.harness.core.records import NightMetric, NightRecord

History = Sequence[tuple[NightRecord, NightMetric]]
"""The same thing in earlier nights of the series and in an equal context, the oldest first."""
Values = Mapping[int, float | None]
"""Seed → final metric; None: the trial diverged."""


@dataclass(frozen=True)
class Ended:
    """The final values of one method in a comparison."""

    values: Values
    without: int
    """Trials that have no outcome."""


def ended(row: Mapping[str, Any]) -> Ended:
    """Return what a method's row of a summary says of its trials."""
    values = {trial["seed"]: trial["train"] for trial in row["trials"] if trial["status"] in ENDED}
    return Ended(values, len(row["trials"]) - len(values))


def judge_digest(found: NightMetric, history: History, commit: str | None) -> NightMetric:
    """Hold a digest against the first one of its series; another one says since which commit."""
    if not history:
        return replace(found, state="new", reason="The first one in this context.")
    first = history[0][1].digest
    if found.digest == first:
        return replace(found, state="same")
    # Nights are in order, so what came after the last one with the old digest is new.
    last = max(n for n, (_, metric) in enumerate(history) if metric.digest == first)
    before = history[last][0]
    after = history[last + 1][0] if last + 1 < len(history) else None
    since = f"since the night of {after.created:%Y-%m-%d}, at " if after else "tonight, at "
    return replace(
        found,
        state="changed",
        reason=(
            f"Another θ {since}{_at(after.commit if after else commit)}; the last with the "
            f"accepted one was the night of {before.created:%Y-%m-%d}, at {_at(before.commit)}."
        ),
    )


def judge_quality(
    found: NightMetric, tonight: Ended, accepted: Ended | None, noise: Noise | None, family: int
) -> NightMetric:
    """Hold a method's final values against the accepted ones, over the seeds that both have.

    The value is their mean, of logarithms where the metric's scale is "log". A diverged trial is
    worse than any finite one, so more of them than before is worse whatever the others reached.
    """
    if accepted is None:
        found = replace(found, value=_mean(tonight, found.scale), n=len(tonight.values))
        return _open(found, "No comparison of it under this protocol is accepted.")
    if tonight.without:
        return _open(found, f"{tonight.without} of its trials have no outcome.")
    seeds = sorted(set(tonight.values) & set(accepted.values))
    if not seeds:
        return _open(found, "It has no seed in common with the accepted comparison.")
    found = replace(found, n=len(seeds))
    new, old = (np.array([_number(each.values[s]) for s in seeds]) for each in (tonight, accepted))
    gone, were = int(np.isnan(new).sum()), int(np.isnan(old).sum())
    if gone or were:
        found = replace(found, reason=f"{gone} of {len(seeds)} trials diverged, where {were} did.")
    if gone != were:
        return replace(found, state="worse" if gone > were else "better")
    if np.array_equal(new, old, equal_nan=True):
        value = _mean(Ended({s: tonight.values[s] for s in seeds}, 0), found.scale)
        if value is not None and noise is not None and noise.sd is not None:
            return _held(found, value, value, noise, family)
        # What is as it was needs no noise to say so.
        return replace(found, state="same", value=value, reference=value)
    finite = ~np.isnan(new) & ~np.isnan(old)
    new, old = new[finite], old[finite]
    if not len(new):
        return _open(found, f"{found.reason} No seed has a value in both.")
    found = replace(found, n=len(new))
    if found.scale == "log":
        if min(new.min(), old.min()) <= 0:
            return _open(found, "A value is not positive, and has no logarithm.")
        new, old = np.log(new), np.log(old)
    return _held(found, float(new.mean()), float(old.mean()), noise, family)


def judge_time(
    found: NightMetric,
    history: History,
    noise: Noise | None,
    family: int,
    again: float | None = None,
) -> NightMetric:
    """Hold the logarithm of a relative time against the first one of its series.

    Where a second measurement, `again`, does not say the same, the first was no finding.
    """
    assert found.value is not None
    if not history:
        return replace(found, state="new", reason="The first one in this context.")
    reference = history[0][1].value
    assert reference is not None
    first = _held(found, found.value, reference, noise, family)
    if again is None or not first.is_finding:
        return first
    second = _held(found, again, reference, noise, family)
    if second.state == first.state:
        return first
    return replace(
        second,
        state="same",
        reason="It was beyond the threshold, but not so when it was measured again.",
    )


def _held(
    found: NightMetric, value: float, reference: float, noise: Noise | None, family: int
) -> NightMetric:
    found = replace(found, value=value, reference=reference)
    if noise is None or noise.sd is None:
        why = noise.reason if noise else "There is no noise on record for it: `bench noise`."
        return _open(found, why)
    assert found.n is not None
    # A mean over fewer seeds than were thought of scatters more.
    sd = noise.sd if found.kind == "time" else noise.sd * math.sqrt(noise.seeds / found.n)
    limit = threshold(sd, noise.df, family)
    found = replace(found, sd=sd, threshold=limit)
    difference = value - reference
    if abs(difference) <= limit:
        return replace(found, state="same")
    lower = difference < 0
    return replace(found, state="better" if lower == (found.direction == "lower") else "worse")


def _open(found: NightMetric, reason: str) -> NightMetric:
    return replace(found, state="not judged", reason=reason)


def _mean(of: Ended, scale: str) -> float | None:
    values = [value for value in of.values.values() if value is not None]
    if not values or len(values) < len(of.values) or (scale == "log" and min(values) <= 0):
        return None
    return float(np.mean(np.log(values) if scale == "log" else values))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _at(commit: str | None) -> str:
    return f"commit {commit[:12]}" if commit else "an unknown commit"
