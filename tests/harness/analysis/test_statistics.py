import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis import statistics as s

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


def test_p_equals_scipy():
    d = np.random.default_rng(3).normal(0.4, 1, 11)
    found = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert s.sign_flip_p(d) == pytest.approx(found.pvalue, abs=1e-15)


def test_sampled_p_is_near_the_exact_one(monkeypatch):
    d = np.random.default_rng(4).normal(0.3, 1, 18)
    exact = s.sign_flip_p(d)
    monkeypatch.setattr(s, "EXACT_UP_TO", 17)
    assert s.sign_flip_p(d) == pytest.approx(exact, abs=4 * math.sqrt(exact / 65_536))
    assert s.sign_flip_p(d) == s.sign_flip_p(d)
    low, high = s.permutation_interval(d).low, s.permutation_interval(d).high
    assert low < d.mean() < high


@given(SAMPLES, st.sampled_from([0.05, 0.1, 0.2, 0.5]))
@settings(max_examples=200, deadline=None)
def test_interval_excludes_zero_exactly_where_p_is_at_most_alpha(d, alpha):
    found = s.permutation_interval(d, alpha)
    assert (found.low > 0 or found.high < 0) == (s.sign_flip_p(d) <= alpha)


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


@pytest.mark.parametrize(("n", "kind"), [(2, "t"), (5, "t"), (6, "permutation"), (20, "bca")])
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


def test_bootstrap_is_refused_below_20():
    with pytest.raises(ValueError, match="at least 20"):
        s.bca_interval([1.0] * 19)


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


def test_signed_ranks():
    ranks = s.signed_ranks([-1.0, 2.0, math.inf, -math.inf, 0.0])
    assert ranks.tolist() == [-2.0, 3.0, 4.5, -4.5, 0.0]


def test_error_rate_and_coverage_where_nothing_differs():
    """The exact test keeps its level whatever the symmetric distribution."""
    rng = np.random.default_rng(7)
    p = np.array([s.sign_flip_p(rng.standard_t(2, 7)) for _ in range(600)])
    # 0.047 = 6/128 is the level that 7 seeds can attain; 3.5 standard errors of room.
    assert abs(np.mean(p <= 0.05) - 6 / 128) < 3.5 * math.sqrt(0.047 / 600)
    covered = [
        (found := s.permutation_interval(rng.normal(3, 1, 8))).low <= 3 <= found.high
        for _ in range(400)
    ]
    assert np.mean(covered) > 0.95 - 3.5 * math.sqrt(0.0475 / 400)
