"""Verdicts: one for every pair of methods, from the final values by method and seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Literal

import numpy as np

from bench.harness.analysis import statistics
from bench.harness.analysis.sample import Floats, Sample, rounding_of

Direction = Literal["lower", "higher"]
Verdict = Literal["a better", "b better", "equivalent", "cannot tell", "too few seeds"]
Results = Mapping[str, Mapping[int, float | None]]
"""Method → seed → final value; None: the trial diverged."""


@dataclass(frozen=True)
class Pair:
    """The verdict on two methods; differences are a − b, paired by seed."""

    a: str
    b: str
    difference: float | None
    """Mean over seeds; of natural logarithms where `unit` is "ratio". None: a trial diverged."""
    low: float | None
    high: float | None
    """Ends of the 95 % interval of this pair alone, in the same unit."""
    p: float
    """Two-sided, adjusted by Holm over all pairs."""
    verdict: Verdict
    n: int
    """Seeds that both methods have."""
    interval_kind: statistics.IntervalKind | None
    unit: Literal["ratio", "difference"]
    smallest_detectable: float | None
    """In the unit of `difference`; None for n = 1, or if a trial diverged."""
    seeds_to_decide: int | None
    """None if the pair is decided, a trial diverged, n is 1, or 1,000 seeds are too few."""
    reason: str


@dataclass(frozen=True)
class _Paired:
    """Two methods on their common seeds, and the tests of their differences."""

    a: str
    b: str
    n: int
    differences: Sample | None
    """None if there is no common seed, or a trial diverged."""
    diverged: tuple[int, int]
    logarithmic: bool
    remarks: tuple[str, ...]
    p: float
    sign: float
    """The sign of a − b in the test."""
    outer: statistics.Interval | None
    """The 1 − alpha interval; None without differences."""
    inner: statistics.Interval | None
    """The 1 − 2·alpha interval."""


def verdicts(
    results: Results,
    *,
    direction: Direction,
    log_scale: bool,
    margin: float,
    alpha: float = 0.05,
    is_share: bool = False,
) -> list[Pair]:
    """Return a verdict for every pair of methods, in their order.

    The test is the exact paired permutation test of the mean difference, on natural
    logarithms where `log_scale`; where a trial diverged, of the signed ranks, a diverged
    trial below every finite one. "equivalent" (the 1 − 2·alpha interval inside ±margin and
    not at its ends, or equal results under every seed) goes before "better": within the
    margin a difference does not matter, however sure. `margin` is in the unit of the
    differences. Where a value is not positive its pairs are compared on plain differences,
    for which only equal results count as equivalent. The interval of a difference of two shares
    of cases lies within ±1.
    """
    return joint_verdicts(
        [results],
        direction=direction,
        log_scale=log_scale,
        margin=margin,
        alpha=alpha,
        is_share=is_share,
    )[0]


def joint_verdicts(
    every: Sequence[Results],
    *,
    direction: Direction,
    log_scale: bool,
    margin: float,
    alpha: float = 0.05,
    is_share: bool = False,
) -> list[list[Pair]]:
    """Return the `verdicts` on several results, for each of them, as one family.

    Methods are paired within each of the results, and Holm's correction is for all pairs of all of
    them together.
    """
    pairs = [
        [
            _pair(a, b, results, direction, log_scale, alpha, is_share)
            for a, b in combinations(results, 2)
        ]
        for results in every
    ]
    family = list(chain(*pairs))
    adjusted = iter(statistics.holm([pair.p for pair in family]))
    return [
        [
            _judge(
                pair,
                next(adjusted),
                direction,
                margin if pair.logarithmic == log_scale else 0.0,
                len(family),
                alpha,
            )
            for pair in of_one
        ]
        for of_one in pairs
    ]


def _pair(
    a: str,
    b: str,
    results: Results,
    direction: Direction,
    log_scale: bool,
    alpha: float,
    is_share: bool,
) -> _Paired:
    seeds = sorted(set(results[a]) & set(results[b]))
    worst = math.inf if direction == "lower" else -math.inf
    x, y = (np.array([_value(results[m][s], worst) for s in seeds]) for m in (a, b))
    gone = (int(np.isinf(x).sum()), int(np.isinf(y).sum()))
    remarks = []
    if left_out := set(results[a]) ^ set(results[b]):
        remarks.append(
            f"Only one of the two methods has {_seeds(left_out)}, so {len(left_out)} of "
            f"{len(left_out) + len(seeds)} seeds {'is' if len(left_out) == 1 else 'are'} left out."
        )
    positive = bool(np.all(x[np.isfinite(x)] > 0) and np.all(y[np.isfinite(y)] > 0))
    logarithmic = log_scale and positive
    if log_scale and not positive:
        remarks.append("A value is not positive, so the values are compared, not their logarithms.")
    differences = outer = inner = None
    scores = Sample.of([0.0])
    if any(gone):
        scores = Sample.of(_ranks(x, y, logarithmic))
    elif seeds:
        scores = differences = Sample.differences(x, y, logarithmic)
        outer = statistics.interval(differences, alpha)
        inner = statistics.interval(differences, 2 * alpha)
        if (
            is_share
            and not logarithmic
            and min(x.min(), y.min()) >= 0
            and max(x.max(), y.max()) <= 1
        ):
            outer, inner = outer.within(-1, 1), inner.within(-1, 1)
    return _Paired(
        a,
        b,
        len(seeds),
        differences,
        gone,
        logarithmic,
        tuple(remarks),
        statistics.sign_flip_p(scores),
        scores.mean,
        outer,
        inner,
    )


def _ranks(x: Floats, y: Floats, logarithmic: bool) -> Floats:
    """Return the signed ranks of differences; an infinite result is infinitely far from others."""
    # Two infinite results are equal.
    d = np.where(x > y, math.inf, np.where(x < y, -math.inf, 0.0))
    rounding = np.zeros(len(x))
    if (both := np.isfinite(x) & np.isfinite(y)).any():
        finite = Sample.differences(x[both], y[both], logarithmic)
        d[both], rounding[both] = finite.values, [float(by) for by in finite.rounding]
    return statistics.signed_ranks(d, rounding)


def _judge(
    pair: _Paired, p: float, direction: Direction, margin: float, pairs: int, alpha: float
) -> Pair:
    d, n, needed = pair.differences, pair.n, statistics.seeds_needed(pairs, alpha)
    remarks = list(pair.remarks)
    difference = low = high = detectable = kind = None
    equivalent = False
    if d is not None and pair.outer is not None and pair.inner is not None:
        difference, kind = d.mean, pair.outer.kind
        low = pair.outer.low if math.isfinite(pair.outer.low) else None
        high = pair.outer.high if math.isfinite(pair.outer.high) else None
        # The test does not reject the ends of its interval, nor what may be an end but for
        # rounding.
        within = margin - d.blur - rounding_of(margin)
        equivalent = -within < pair.inner.low and pair.inner.high < within or not any(d.exact)
        if n >= needed:
            # With the level of Holm's first and strictest step.
            detectable = statistics.smallest_detectable(d, alpha / pairs)
    else:
        remarks += [
            f"{gone} of {n} trials of {label} diverged, so the test uses ranks, in which a "
            "diverged trial is worse than every finite one, and no mean difference is given."
            for label, gone in zip((pair.a, pair.b), pair.diverged, strict=True)
            if gone
        ]
    verdict: Verdict = "cannot tell"
    if n < needed:
        verdict = "too few seeds"
        family = "pair" if pairs == 1 else "pairs"
        remarks.insert(
            0,
            f"At least {needed} seeds are needed to reach p = {alpha:g} with Holm's correction for "
            f"{pairs} {family}.",
        )
    elif equivalent:
        verdict = "equivalent"
        if p <= alpha:
            remarks.insert(0, "There is a difference, but it is within the margin.")
    elif p <= alpha:
        verdict = "a better" if (pair.sign < 0) == (direction == "lower") else "b better"
    seeds = None
    if d is not None and n > 1 and verdict in ("cannot tell", "too few seeds"):
        seeds = statistics.seeds_to_decide(d, margin, pairs, alpha)
        if seeds is None:
            remarks.append(
                f"With the observed mean and spread, {statistics.MAX_SEEDS:,} seeds would not be "
                "enough."
            )
    return Pair(
        pair.a,
        pair.b,
        difference,
        low,
        high,
        p,
        verdict,
        n,
        kind,
        "ratio" if pair.logarithmic else "difference",
        detectable,
        seeds,
        " ".join(remarks),
    )


def _value(value: float | None, worst: float) -> float:
    return worst if value is None or not math.isfinite(value) else float(value)


def _seeds(seeds: set[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(seeds)))}"
