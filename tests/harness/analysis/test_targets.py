import math
from dataclasses import replace

import pytest

from bench.harness.analysis.targets import (
    BudgetEnd,
    Course,
    first_reaching,
    horizons,
    time_to_target,
)
from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import CURRENCIES, Budget
from tests.harness.analysis.test_summary import trial


def curve(*values, speed=1.0):
    return [
        Measurement(i, Ledger(gradients=10.0 * i, seconds=speed * i), v, v, v, v)
        for i, v in enumerate(values)
    ]


def course(*values, speed=1.0, whole=True):
    taken = curve(*values, speed=speed)
    return Course(taken, taken[-1].ledger, whole)


def found(courses, target=1, direction="lower"):
    return time_to_target(courses, target, direction, horizons(courses))


def test_first_at_or_below():
    assert first_reaching(curve(9, math.nan, 3, 2, 1), 3, "lower").gradients == 20
    assert first_reaching(curve(9, 8), 3, "lower") is None
    assert first_reaching(curve(0.1, math.nan, 0.9), 0.5, "higher").gradients == 20
    assert first_reaching([], 1, "lower") is None
    assert first_reaching(curve(math.nan), 1, "higher") is None


def test_median_with_censored_trials():
    of = found([course(9, 1, 1, 1), course(9, 9, 1, 1, speed=5), course(9, 9, 9, 1),
                course(9, 9, 9, 9)])  # fmt: skip
    assert (of.reached, of.of) == (3, 4)
    assert (of.median["seconds"], of.median["gradients"]) == (3, 20)
    assert of.horizon["gradients"] == 30 and of.horizon["seconds"] == 3
    assert of.restricted_mean["gradients"] == (10 + 20 + 30 + 30) / 4
    # The slow one is there after 10 s, when the horizon is long past.
    assert of.restricted_mean["seconds"] == (1 + 3 + 3 + 3) / 4
    assert of.median.keys() == of.restricted_mean.keys() == set(CURRENCIES)


def test_median_is_unknown_where_under_half_reached():
    never = course(9, 9)
    of = found([course(9, 1), never, never])
    assert (of.reached, of.of, of.median["seconds"], of.median["gradients"]) == (1, 3, None, None)
    assert found([course(9, 1), never]).median["seconds"] == 1
    assert found([]).median["seconds"] is None


def test_a_whole_trial_is_censored_at_its_end_and_any_other_after_all():
    """One ended after 10 gradients, when one of the others was there and one was not yet."""
    rest = [course(1, 1, 1, 1), course(9, 9, 1, 1)]
    whole = found([*rest, course(9, 9)])
    ended = found([*rest, course(9, 9, whole=False)])
    assert (whole.horizon["gradients"], ended.horizon["gradients"]) == (10, 30)
    at = {"gradients": 30.0, **dict.fromkeys(CURRENCIES[1:])}
    means = [
        time_to_target([*rest, course(9, 9, whole=w)], 1, "lower", at).restricted_mean["gradients"]
        for w in (True, False)
    ]
    # S after 0: 2/3; after 20: 0 where the third has left by then, 1/3 where it stays.
    assert means == [pytest.approx(20 * 2 / 3), pytest.approx(20 * 2 / 3 + 10 / 3)]


def test_without_a_whole_trial_there_is_no_horizon():
    of = found([course(9, 1, whole=False), course(9, 9, whole=False)])
    assert set(of.horizon.values()) == set(of.restricted_mean.values()) == {None}
    assert of.median["gradients"] == 10


@pytest.mark.parametrize(
    ("changes", "whole"),
    [
        ({}, True),
        ({"reason": "The gradient is zero."}, False),
        ({"status": "diverged", "reason": "not finite"}, False),
        ({"status": "diverged"}, False),
    ],
)
def test_the_course_of_a_trial(changes, whole):
    taken = curve(9, 1)
    of = trial(0, "nag", 0, 0.1, **changes)
    budget = Budget("updates", 10)
    assert Course.of(of, taken, budget) == Course(taken, of.ledger, whole)
    until_seven = replace(of, anytime_updates=7)
    assert Course.of(until_seven, taken, budget).end == BudgetEnd(budget, 7)
