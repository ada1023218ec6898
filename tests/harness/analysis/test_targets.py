import math

from harness.analysis.targets import first_reaching, time_to_target
from harness.records import Ledger, Measurement


def curve(*values, speed=1.0):
    return [
        Measurement(i, Ledger(gradients=10.0 * i, seconds=speed * i), v, v, v, v)
        for i, v in enumerate(values)
    ]


def test_first_at_or_below():
    assert first_reaching(curve(9, math.nan, 3, 2, 1), 3, "lower").gradients == 20
    assert first_reaching(curve(9, 8), 3, "lower") is None
    assert first_reaching(curve(0.1, math.nan, 0.9), 0.5, "higher").gradients == 20
    assert first_reaching([], 1, "lower") is None
    assert first_reaching(curve(math.nan), 1, "higher") is None


def test_median_with_censored_trials():
    trials = [curve(9, 1), curve(9, 9, 1, speed=5), curve(9, 9, 9, 1), curve(9, 9, 9, 9)]
    found = time_to_target(trials, 1, "lower")
    assert (found.reached, found.of) == (3, 4)
    assert (found.seconds, found.gradients) == (3, 20)


def test_median_is_unknown_where_under_half_reached():
    never = curve(9, 9)
    found = time_to_target([curve(9, 1), never, never], 1, "lower")
    assert (found.reached, found.of, found.seconds, found.gradients) == (1, 3, None, None)
    half = time_to_target([curve(9, 1), never], 1, "lower")
    assert half.seconds == 1
    assert time_to_target([], 1, "lower").seconds is None
