"""Kaplan–Meier and the restricted mean against brute force, and a published example."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.harness.analysis.survival import kaplan_meier

TIMES = st.integers(0, 8)
TRIALS = st.lists(st.tuples(TIMES, st.booleans()), min_size=1, max_size=9)
# Weeks of remission under 6-MP; negative where the patient was last seen in remission.
# Gehan 1965, as in Kalbfleisch & Prentice, "The Statistical Analysis of Failure Time Data".
REMISSION = [6, 6, 6, 7, 10, 13, 16, 22, 23, -6, -9, -10, -11, -17, -19, -20, -25, -32, -32, -34,
             -35]  # fmt: skip


def share_left(trials, at):
    """S(at), factor by factor."""
    left = Fraction(1)
    for time in sorted({t for t, reached in trials if reached and t <= at}):
        at_risk = sum(t >= time for t, _ in trials)
        left *= 1 - Fraction(sum(t == time and reached for t, reached in trials), at_risk)
    return left


def test_a_published_example():
    weeks = np.array(REMISSION)
    found = kaplan_meier(np.abs(weeks), weeks > 0)
    at = dict(zip(found.times, found.shares, strict=True))
    assert [round(at[week], 3) for week in (6, 7, 10, 13, 16, 22, 23)] == [
        0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448,
    ]  # fmt: skip
    assert found.median == 23


@given(TRIALS)
@settings(max_examples=80, deadline=None)
def test_it_is_the_product_limit(trials):
    found = kaplan_meier(*zip(*trials, strict=True))
    for at in range(10):
        before = found.shares[found.times <= at]
        assert (before[-1] if len(before) else 1) == pytest.approx(float(share_left(trials, at)))
    halves = [at for at in range(10) if share_left(trials, at) <= Fraction(1, 2)]
    assert found.median == (halves[0] if halves else None)


@given(TRIALS, st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_the_restricted_mean_is_the_area_below(trials, horizon):
    found = kaplan_meier(*zip(*trials, strict=True))
    # S changes at whole numbers only.
    area = sum(share_left(trials, at) for at in range(horizon))
    assert found.restricted_mean(horizon) == pytest.approx(float(area))


@given(st.lists(st.one_of(TIMES, st.none()), min_size=1, max_size=9), st.integers(8, 12))
@settings(max_examples=80, deadline=None)
def test_with_one_budget_they_are_median_and_mean(times, budget):
    """None: not reached within the budget, or ever."""
    ends = [budget if t is None else t for t in times]
    reached = [t is not None for t in times]
    for late in (budget, math.inf):
        found = kaplan_meier([late if t is None else t for t in times], reached)
        assert found.restricted_mean(budget) == pytest.approx(np.mean(ends))
        middle = sorted(math.inf if t is None else t for t in times)[math.ceil(len(times) / 2) - 1]
        assert found.median == (None if middle == math.inf else middle)


def test_who_would_never_get_there_stays_at_risk():
    trials, reached = [2, 4, 6], [True, True, True]
    assert kaplan_meier([*trials, 1], [*reached, False]).median == 4
    assert kaplan_meier([*trials, math.inf], [*reached, False]).restricted_mean(8) == 5.0
    assert kaplan_meier([1, 1, 1], [True, False, False]).restricted_mean(3) == pytest.approx(7 / 3)


@pytest.mark.parametrize("times", [[], [math.inf, math.inf]])
def test_nobody_got_there(times):
    found = kaplan_meier(times, [False] * len(times))
    assert found.median is None and found.restricted_mean(3.0) == 3.0
