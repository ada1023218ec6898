"""Rounding of results decides no verdict: p, intervals and ties against exact counting."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.harness.analysis import statistics as s
from bench.harness.analysis.contrast import Statement, decide
from bench.harness.analysis.noise import scatter
from bench.harness.analysis.sample import Sample
from bench.harness.analysis.verdict import verdicts

PARTS = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=6, max_size=9)
CASES = 60_000


def counted(differences):
    """Count in exact arithmetic: |Σ sᵢ dᵢ| ≥ |Σ dᵢ| over all signs."""
    observed = abs(sum(differences))
    signs = itertools.product((-1, 1), repeat=len(differences))
    sums = (abs(sum(x * y for x, y in zip(differences, sign, strict=True))) for sign in signs)
    return sum(each >= observed for each in sums) / 2 ** len(differences)


def counted_ratios(ratios):
    """Count the same of logarithms, without taking any: Π rᵢ^sᵢ, or its inverse."""

    def away(product):
        return max(product, 1 / product)

    observed = away(math.prod(ratios))
    signs = itertools.product((False, True), repeat=len(ratios))
    products = (
        away(math.prod(1 / r if flip else r for r, flip in zip(ratios, sign, strict=True)))
        for sign in signs
    )
    return sum(each >= observed for each in products) / 2 ** len(ratios)


def p_of(x, y, *, log_scale=False):
    """The p of a pair of methods, as a comparison gets it."""
    a, b = (dict(enumerate(map(float, values))) for values in (x, y))
    (pair,) = verdicts({"a": a, "b": b}, direction="lower", log_scale=log_scale, margin=0.0)
    return pair.p


@given(PARTS, st.integers(-6, 6), st.integers(0, 6))
@settings(max_examples=300, deadline=None)
def test_results_with_few_decimals_at_any_distance_from_zero(parts, exponent, digits):
    shift, unit = Fraction(10) ** exponent, Fraction(1, 10**digits)
    x, y = zip(*((shift + unit * a, shift + unit * b) for a, b in parts), strict=True)
    assert p_of(x, y) == counted([a - b for a, b in parts])


@given(PARTS, st.integers(0, CASES // 2))
@settings(max_examples=200, deadline=None)
def test_shares_of_cases(parts, shift):
    x, y = zip(*(((shift + a) / CASES, (shift + b) / CASES) for a, b in parts), strict=True)
    assert p_of(x, y) == counted([a - b for a, b in parts])


@given(PARTS, st.data())
@settings(max_examples=300, deadline=None)
def test_scales_that_differ_between_seeds(parts, data):
    powers = data.draw(st.lists(st.integers(-15, 15), min_size=len(parts), max_size=len(parts)))
    exact = [
        (a * Fraction(10) ** power, b * Fraction(10) ** power)
        for (a, b), power in zip(parts, powers, strict=True)
    ]
    x, y = zip(*exact, strict=True)
    assert p_of(x, y) == counted([a - b for a, b in exact])


@given(st.lists(st.floats(-1, 1).filter(bool), min_size=6, max_size=8), st.data())
@settings(max_examples=200, deadline=None)
def test_floats_on_scales_far_apart(values, data):
    """Numbers of all digits, which no sum makes equal by chance."""
    powers = data.draw(st.lists(st.integers(-15, 15), min_size=len(values), max_size=len(values)))
    d = [value * 10.0**power for value, power in zip(values, powers, strict=True)]
    sides = [
        abs(sum(map(Fraction, side)))
        for size in range(1, len(d) + 1)
        for side in itertools.combinations(d, size)
    ]
    ulps = sum(Fraction(math.ulp(each)) for each in d)
    if all(side == 0 or side > 4 * ulps for side in sides):
        assert s.sign_flip_p(d) == counted([Fraction(each) for each in d])


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1.0, 1e6, 1e15, 1e150, 1e-150, 1e300])
def test_p_does_not_depend_on_the_unit(scale):
    d = np.random.default_rng(3).normal(0.6, 1, 9)
    assert s.sign_flip_p(d * scale) == s.sign_flip_p(d)
    here, there = s.interval(d), s.interval(d * scale)
    assert (there.low, there.high) == pytest.approx((here.low * scale, here.high * scale))
    assert s.t_interval(d * scale).high == pytest.approx(s.t_interval(d).high * scale)
    assert s.smallest_detectable(d * scale) == pytest.approx(s.smallest_detectable(d) * scale)
    assert s.seeds_to_decide(d * scale, 0.1 * scale) == s.seeds_to_decide(d, 0.1)


RATIOS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=6, max_size=8)


@given(RATIOS, st.integers(-15, 15), st.sampled_from([1, 7, 1000]))
@settings(max_examples=200, deadline=None)
def test_ties_of_logarithms(parts, power, divisor):
    unit = 10.0**power / divisor
    x, y = zip(*((a * unit, b * unit) for a, b in parts), strict=True)
    assert p_of(x, y, log_scale=True) == counted_ratios([Fraction(a, b) for a, b in parts])


@pytest.mark.parametrize("large", [1e13, 1e15, -1e13, 1e100])
def test_one_large_result_blurs_no_other(large):
    y = [1.0] * 8
    x = [1.5, 1.25, 1.75, 2.0, 1.1, 1.2, 1.3, 1.0 + abs(large)]
    assert p_of(x, y) == 2 / 256
    assert p_of(y, x) == 2 / 256
    # The large result is the same for both: only the others count.
    both = p_of([*x[:7], large], [*y[:7], large])
    assert both == counted([Fraction(a) - 1 for a in x[:7]] + [0])


def test_ties_where_results_are_far_larger_than_their_differences():
    """Two-decimal results near 10,000 have the p of the same results near 1,000."""
    rng = np.random.default_rng(5)
    for _ in range(100):
        cents = rng.integers(-30, 60, 8).tolist()
        for shift in (0, 1_000, 10_000, 1_000_000):
            x = [float(Fraction(100 * shift + cent, 100)) for cent in cents]
            assert p_of(x, [float(shift)] * 8) == counted(cents)


def test_sampled_signs_do_not_depend_on_shift_and_scale():
    cents = np.random.default_rng(0).integers(-10, 16, 24).tolist()
    here = p_of(cents, [0] * 24)
    assert 0 < here < 1
    for shift in (-6, 0, 6):
        base = Fraction(10) ** shift
        x = [base + Fraction(cent, 10**6) for cent in cents]
        assert p_of(x, [base] * 24) == here
    outlier = [*cents[:-1], 10**13]
    assert p_of(outlier, [0] * 24) == p_of([*cents[:-1], 10**4], [0] * 24)


@given(PARTS, st.sampled_from([0, 1000, 10**6]))
@settings(max_examples=100, deadline=None)
def test_the_interval_excludes_zero_exactly_where_p_says_so(parts, shift):
    x, y = zip(*((shift + a / 100, shift + b / 100) for a, b in parts), strict=True)
    found = Sample.differences(x, y)
    outer = s.permutation_interval(found)
    assert (outer.low > 0 or outer.high < 0) == (s.sign_flip_p(found) <= 0.05)
    near = s.permutation_interval([a / 100 - b / 100 for a, b in parts])
    assert (outer.low, outer.high) == pytest.approx((near.low, near.high), abs=1e-12)


def test_equal_except_for_rounding_is_equal():
    (pair,) = verdicts(
        {"a": dict.fromkeys(range(6), 0.1 + 0.2), "b": dict.fromkeys(range(6), 0.3)},
        direction="lower",
        log_scale=False,
        margin=0.0,
    )
    assert (pair.verdict, pair.difference, pair.low, pair.high) == ("equivalent", 0.0, 0.0, 0.0)


@pytest.mark.parametrize("shift", [0, 1_000, 10_000, 1_000_000])
@pytest.mark.parametrize("log_scale", [False, True])
def test_a_difference_of_the_margin_is_not_within_it_wherever_results_are(shift, log_scale):
    if log_scale:
        b = {seed: (seed + 1) / 7 for seed in range(8)}
        a, margin = {seed: 1.1 * value for seed, value in b.items()}, math.log(1.1)
    else:
        b = {seed: shift + seed / 100 for seed in range(8)}
        a = {seed: (100 * shift + seed + 7) / 100 for seed in range(8)}
        margin = 0.07
    (pair,) = verdicts({"a": a, "b": b}, direction="lower", log_scale=log_scale, margin=margin)
    assert pair.verdict == "b better"


def test_ranks_of_differences_that_are_equal_except_for_rounding():
    """A diverged trial turns differences into ranks; 10000.01 − 10000 and 0.01 are ties."""
    x = {0: 10000.01, 1: 10000.02, 2: 10000.01, 3: 9999.99, 4: 10000.03, 5: 10000.01, 6: None}
    near = {seed: v if v is None else round(v - 10000, 2) for seed, v in x.items()}
    far_zero, near_zero = dict.fromkeys(x, 10000.0), dict.fromkeys(x, 0.0)
    found = [
        verdicts({"a": a, "b": b}, direction="lower", log_scale=False, margin=0.0)[0].p
        for a, b in ((x, far_zero), (near, near_zero))
    ]
    assert found[0] == found[1] == s.sign_flip_p([2.5, 5, 2.5, -2.5, 6, 2.5, 7])


def test_an_estimate_at_its_threshold_is_undecided():
    for factor in (3.0, 1.1, 7.0):
        values = {"a": {i: factor * (i + 1) / 7 for i in range(6)}}
        values["b"] = {i: (i + 1) / 7 for i in range(6)}
        statement = Statement("", {"a": 1.0, "b": -1.0}, "log", "above", factor)
        assert decide(statement, values).decision == "cannot tell"
    far = {"a": {i: 10000.07 + i for i in range(6)}, "b": {i: 10000.0 + i for i in range(6)}}
    for side in ("above", "below"):
        statement = Statement("", {"a": 1.0, "b": -1.0}, "plain", side, 0.07)
        assert decide(statement, far).decision == "cannot tell"


def test_scatter_that_is_rounding_is_none():
    for values, scale in (([0.3, 0.1 + 0.2, 0.3], "plain"), ([0.3, 0.1 + 0.2, 0.3], "log")):
        assert scatter(values, scale).sd is None
    assert scatter([10000.0, 10000.01, 10000.0], "plain").sd == pytest.approx(0.01 / math.sqrt(3))


def test_spread_and_mean():
    assert s.smallest_detectable([0.3] * 6) == 0.0
    assert Sample.of([0.1] * 3).mean == 0.1
    assert Sample.of([1e308, 1e308, 9e307]).mean == pytest.approx(2.9 / 3 * 1e308)
    assert Sample.of([1.0, 2.0, 4.0]).spread == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert s.sign_flip_p([1e308] * 6) == 2 / 64
    assert s.interval([1e308] * 6).high == 1e308
