"""How often verdicts and intervals are wrong where the truth is known: simulated comparisons.

`python -m tests.harness.analysis.error_rates` prints the figures of docs/statistics.md.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import stats

from bench.harness.analysis.statistics import interval, seeds_needed
from bench.harness.analysis.verdict import verdicts

COMPARISONS = 2_000
NOISES = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy-tailed": lambda rng, shape: rng.standard_t(2, shape),
    "tied": lambda rng, shape: rng.integers(0, 4, shape).astype(float),
    "skewed": lambda rng, shape: rng.exponential(1, shape),
}
"""t with 2 degrees of freedom has no variance; four equally likely values tie often; the
exponential distribution is the same for all methods, so it is skewed, and yet exchangeable."""
CONTINUOUS = [name for name in NOISES if name != "tied"]


def values(noise, methods, seeds, comparisons=COMPARISONS):
    """Draw (comparisons, methods, seeds) results of equal methods; a seed's level is common."""
    rng = np.random.default_rng([methods, seeds, list(NOISES).index(noise)])
    levels = rng.integers(0, 9, (comparisons, 1, seeds))
    return levels + NOISES[noise](rng, (comparisons, methods, seeds))


def judged(drawn, margin=0.0):
    """Return the verdicts over each comparison of (comparisons, methods, seeds) results."""
    return [
        [
            pair.verdict
            for pair in verdicts(
                {str(m): dict(enumerate(row)) for m, row in enumerate(comparison.tolist())},
                direction="lower",
                log_scale=False,
                margin=margin,
            )
        ]
        for comparison in drawn
    ]


def false_verdicts(noise, methods, seeds, comparisons=COMPARISONS):
    """Return the share of comparisons of equal methods in which any is called better."""
    found = judged(values(noise, methods, seeds, comparisons))
    return np.mean([any(v.endswith("better") for v in pairs) for pairs in found])


def false_equivalents(noise, seeds, comparisons=COMPARISONS):
    """Return the share of "equivalent" where the true difference is the margin, and clear."""
    drawn = values(noise, 2, seeds, comparisons)
    drawn[:, 0] += 100
    return np.mean([pairs == ["equivalent"] for pairs in judged(drawn, margin=100)])


def coverage(noise, seeds, alpha=0.05, comparisons=COMPARISONS):
    """Return the share of intervals that hold the true mean difference."""
    a, b = np.moveaxis(values(noise, 2, seeds, comparisons), 1, 0)
    found = (interval(d, alpha) for d in a - b)
    return np.mean([each.low <= 0 <= each.high for each in found])


def bootstrap_coverage(noise, seeds, comparisons=COMPARISONS):
    """Return the same of the bias-corrected and accelerated bootstrap (Efron 1987)."""
    a, b = np.moveaxis(values(noise, 2, seeds, comparisons), 1, 0)
    found = stats.bootstrap(
        (a - b,), np.mean, axis=-1, method="BCa", n_resamples=1_999, batch=50, rng=0
    ).confidence_interval
    return np.mean((found.low <= 0) & (found.high >= 0))


def power(effect, seeds, comparisons=COMPARISONS):
    """Return the share of comparisons that call a method better by `effect` standard deviations."""
    drawn = values("normal", 2, seeds, comparisons)
    # The difference of two unit normals has standard deviation √2.
    drawn[:, 0] -= effect * math.sqrt(2)
    return np.mean([pairs == ["a better"] for pairs in judged(drawn)])


def attainable(methods, seeds, alpha=0.05):
    """Return the chance of any false verdict where values have no ties.

    For two methods it is the largest multiple of 2 / 2ⁿ that is at most alpha. For more it is
    worked out where Holm's first step needs a pair of which one method is ahead under every
    seed: all orders of the methods are equally likely under a seed, and the union over pairs
    follows by inclusion and exclusion.
    """
    if methods == 2:
        return math.floor(alpha * 2 ** (seeds - 1)) / 2 ** (seeds - 1)
    ordered = list(itertools.permutations(range(methods), 2))
    assert 2 * len(ordered) / 2**seeds > alpha, "two seeds may disagree"
    if seeds < seeds_needed(len(ordered) // 2):
        return 0.0
    orders = np.array(list(itertools.permutations(range(methods))))
    ahead = np.array([orders[:, a] < orders[:, b] for a, b in ordered])
    return sum(
        (-1) ** (size + 1) * np.mean(np.all(ahead[list(chosen)], axis=0)) ** seeds
        for size in range(1, len(ordered) + 1)
        for chosen in itertools.combinations(range(len(ordered)), size)
    )


def main():
    """Print every figure that docs/statistics.md quotes."""
    print(f"{COMPARISONS:,} simulated comparisons each; in %")
    print("\nany method called better, of equal ones (attainable)")
    for methods, seeds in ((2, 5), (2, 6), (2, 8), (2, 12), (4, 8)):
        rates = (f"{noise} {100 * false_verdicts(noise, methods, seeds):.1f}" for noise in NOISES)
        print(
            f"  {methods} methods, {seeds} seeds ({100 * attainable(methods, seeds):.1f}):", *rates
        )
    print("\n95 % intervals that hold the truth")
    for seeds in (4, 6, 12, 20, 25):
        print(f"  {seeds} seeds:", *(f"{n} {100 * coverage(n, seeds):.1f}" for n in NOISES))
    print("  20 seeds, BCa:", *(f"{n} {100 * bootstrap_coverage(n, 20):.1f}" for n in NOISES))
    print("\nequivalent, where the difference is the margin")
    for seeds in (6, 8, 12):
        print(
            f"  {seeds} seeds:", *(f"{n} {100 * false_equivalents(n, seeds):.1f}" for n in NOISES)
        )
    print("\npower by effect in standard deviations")
    for seeds in (6, 8, 12, 16):
        print(f"  {seeds} seeds:", *(f"{e}: {100 * power(e, seeds):.0f}" for e in (0.5, 1.0, 1.5)))


if __name__ == "__main__":
    main()
