import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.harness.analysis import splits
from bench.harness.analysis import statistics as s

VALUES = st.integers(-50, 50).map(lambda i: i / 8)
SAMPLES = st.lists(VALUES, min_size=1, max_size=9)


def brute_p(d):
    """Enumerate every sign assignment, in exact arithmetic for multiples of 1/8."""
    observed = abs(sum(d))
    signs = itertools.product((-1, 1), repeat=len(d))
    flipped = [abs(sum(x * y for x, y in zip(d, sign, strict=True))) for sign in signs]
    return sum(f >= observed for f in flipped) / 2 ** len(d)


@given(SAMPLES)
@settings(max_examples=150, deadline=None)
def test_p_equals_brute_force(d):
    assert s.sign_flip_p(d) == brute_p(d)


@given(st.lists(VALUES, min_size=2, max_size=8))
@settings(max_examples=50, deadline=None)
def test_p_equals_scipy(d):
    found = stats.permutation_test((d,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert s.sign_flip_p(d) == pytest.approx(found.pvalue, abs=1e-15)


def test_sampled_p_is_near_the_exact_one(monkeypatch):
    d = np.random.default_rng(4).normal(0.3, 1, 18)
    exact = s.sign_flip_p(d)
    monkeypatch.setattr(splits, "EXACT_UP_TO", 17)
    splits.split_means.cache_clear()
    assert s.sign_flip_p(d) == pytest.approx(exact, abs=4 * math.sqrt(exact / 65_536))
    assert s.sign_flip_p(d) == s.sign_flip_p(d)
    # The observed assignment is always among them, so that p is never zero.
    assert s.sign_flip_p(np.ones(40)) == 1 / 65_536
    low, high = s.permutation_interval(d).low, s.permutation_interval(d).high
    assert low < d.mean() < high


@given(SAMPLES, st.sampled_from([0.05, 0.1, 0.2, 0.5]))
@settings(max_examples=200, deadline=None)
def test_interval_excludes_zero_exactly_where_p_is_at_most_alpha(d, alpha):
    found = s.permutation_interval(d, alpha)
    assert (found.low > 0 or found.high < 0) == (s.sign_flip_p(d) <= alpha)


@given(st.lists(VALUES, min_size=21, max_size=24))
@settings(max_examples=20, deadline=None)
def test_interval_and_p_agree_where_they_are_sampled(d):
    found = s.interval(d)
    assert found.kind == "permutation"
    assert (found.low > 0 or found.high < 0) == (s.sign_flip_p(d) <= 0.05)


@given(st.lists(VALUES, min_size=6, max_size=8))
@settings(max_examples=60, deadline=None)
def test_interval_is_where_the_test_does_not_reject(d):
    found = s.permutation_interval(d)
    d = np.array(d)
    width = found.high - found.low
    for inside in (0.001, 0.5, 0.999):
        assert s.sign_flip_p(d - (found.low + inside * width)) > 0.05
    for outside in (found.low - 1e-3, found.high + 1e-3):
        assert s.sign_flip_p(d - outside) <= 0.05


@given(st.lists(VALUES, min_size=2, max_size=9), st.sampled_from([0.25, 2.0, 1024.0]))
@settings(max_examples=60, deadline=None)
def test_sign_and_scale(d, scale):
    d = np.array(d)
    here, there = s.interval(d), s.interval(-scale * d)
    assert s.sign_flip_p(d) == s.sign_flip_p(-scale * d)
    assert there.low == pytest.approx(-scale * here.high)
    assert there.high == pytest.approx(-scale * here.low)


@pytest.mark.parametrize(
    ("n", "kind"), [(2, "t"), (5, "t"), (6, "permutation"), (21, "permutation")]
)
def test_kind_of_interval(n, kind):
    d = np.random.default_rng(n).normal(1, 1, n)
    found = s.interval(d)
    assert found.kind == kind and found.low < d.mean() < found.high
    assert s.interval(d, 0.1).low > found.low


def test_equal_differences():
    assert s.sign_flip_p([0.0] * 6) == 1.0
    for n in (2, 6, 20):
        found = s.interval([0.0] * n)
        assert (found.low, found.high) == (0.0, 0.0)
    assert s.sign_flip_p([0.1] * 6) == 2 / 64


def test_one_difference_says_nothing():
    assert s.sign_flip_p([3.0]) == 1.0
    assert s.interval([3.0]).high == math.inf
    assert s.smallest_detectable([3.0]) is None


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf], [[1.0]]])
def test_values_that_cannot_be_used(bad):
    with pytest.raises(ValueError, match="finite values"):
        s.sign_flip_p(bad)


@given(st.lists(st.floats(0, 1), max_size=7))
@settings(deadline=None)
def test_holm_by_its_definition(p):
    adjusted = s.holm(p)
    order = sorted(range(len(p)), key=lambda i: p[i])
    for rank, i in enumerate(order):
        below = [(len(p) - j) * p[order[j]] for j in range(rank + 1)]
        assert adjusted[i] == min(1.0, max(below))


def test_seeds_needed():
    assert [s.seeds_needed(pairs) for pairs in (1, 3, 6)] == [6, 7, 8]
    for pairs in range(1, 40):
        n = s.seeds_needed(pairs)
        assert pairs * s.sign_flip_p(np.ones(n)) <= 0.05
        assert pairs * s.sign_flip_p(np.ones(n - 1)) > 0.05


@pytest.mark.parametrize("n", [3, 6, 20])
def test_smallest_detectable_has_power_08(n):
    rng = np.random.default_rng(0)
    d = rng.normal(0, 2, n)
    delta = s.smallest_detectable(d)
    samples = rng.normal(delta, d.std(ddof=1), (20_000, n))
    rejected = stats.ttest_1samp(samples, 0, axis=1).pvalue <= 0.05
    assert rejected.mean() == pytest.approx(0.8, abs=0.015)


def test_smallest_detectable_of_equal_differences():
    assert s.smallest_detectable([0.3] * 6) == pytest.approx(0.0, abs=1e-15)


def shown(effect, n, level):
    """The power of a one-sided t test for an effect in standard deviations."""
    return stats.nct.sf(stats.t.isf(level, n - 1), n - 1, effect * math.sqrt(n))


@given(
    st.lists(VALUES, min_size=2, max_size=9).filter(lambda d: np.ptp(d) > 0),
    st.sampled_from([1, 3, 6]),
    st.sampled_from([0.0, 0.5, 4.0]),
)
@settings(max_examples=60, deadline=None)
def test_seeds_to_decide_are_the_fewest_with_power_08(d, pairs, margin):
    effect, spread = abs(np.mean(d)), np.std(d, ddof=1)

    def decided(n):
        better = shown(effect / spread, n, 0.025 / pairs)
        if effect >= margin:
            return better >= 0.8
        inside = [shown((margin + side * effect) / spread, n, 0.05) for side in (-1, 1)]
        return better >= 0.8 or sum(inside) - 1 >= 0.8

    least = max(s.seeds_needed(pairs), len(d) + 1)
    n = s.seeds_to_decide(d, margin, pairs)
    if n is None:
        assert not decided(1_000)
    else:
        assert n >= least and decided(n)
        assert n == least or not decided(n - 1)


@pytest.mark.parametrize(("centre", "margin"), [(0.7, 0.0), (0.0, 0.5), (0.2, 0.8)])
def test_so_many_seeds_do_decide(centre, margin):
    """Paired t tests of as many seeds, drawn with the mean and the spread that were seen."""
    rng = np.random.default_rng(0)
    d = stats.zscore(rng.normal(size=6), ddof=1) + centre
    n = s.seeds_to_decide(d, margin)
    drawn = rng.normal(centre, 1, (4_000, n))
    half = stats.t.isf(0.05, n - 1) * stats.sem(drawn, axis=1)
    equivalent = np.abs(drawn.mean(axis=1)) + half <= margin
    better = stats.ttest_1samp(drawn, 0, axis=1).pvalue <= 0.05
    rates = equivalent.mean(), better.mean()
    assert max(rates) == pytest.approx(0.8, abs=0.03)


def test_seeds_to_decide_where_nothing_scatters_or_nothing_can_be_told():
    assert s.seeds_to_decide([3.0], 1.0) is None
    assert s.seeds_to_decide([0.1] * 3, 0.0) == s.seeds_to_decide([0.0] * 3, 0.0) == 6
    assert s.seeds_to_decide([0.1] * 8, 0.0, pairs=6) == 9
    # No effect and no margin: however many seeds, nothing is ever shown.
    assert s.seeds_to_decide([1.0, -1.0] * 4, 0.0) is None
    assert s.seeds_to_decide([1.0, -1.0] * 4, 0.5) < 100
    assert s.seeds_to_decide([1e-9, -1e-9, 2e-9], 1e12) == 6
    assert s.seeds_to_decide([1.0, -1.0] * 500, 2.0) is None


def test_signed_ranks():
    ranks = s.signed_ranks([-1.0, 2.0, math.inf, -math.inf, 0.0])
    assert ranks.tolist() == [-2.0, 3.0, 4.5, -4.5, 0.0]
