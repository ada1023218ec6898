import math
from dataclasses import replace

import numpy as np
import pytest

from bench.harness.report.curves import Curve, Scale, band, profile_steps, profiled

X = np.array([1.0, 10.0, 100.0])
LOWER = Scale(log=True, worst=math.inf)


def test_median_counts_a_diverged_trial_as_worst():
    going = Curve(X, np.array([4.0, 2.0, 1.0]), False)
    gone = Curve(X, np.array([4.0, 3.0, math.nan]), True)
    found = band([going, gone], LOWER)
    assert (found.x[0], found.x[-1]) == (1.0, pytest.approx(100.0))
    assert found.low[-1] == pytest.approx(1.0)
    # Of 1 and infinity.
    assert math.isnan(found.median[-1]) and math.isnan(found.high[-1])
    # Half-way on both logarithmic axes, as the drawn line goes.
    low = np.interp(0.5, np.log10(found.x), np.log(found.low))
    assert low == pytest.approx(np.log(4 * 2) / 2, abs=1e-3)


def test_band_is_of_least_median_and_greatest():
    curves = [Curve(X, y * np.ones(3), False) for y in (5.0, 1.0, 2.0)]
    found = band(curves, LOWER)
    assert [each[7] for each in (found.low, found.median, found.high)] == pytest.approx([1, 2, 5])


def test_band_ends_with_the_shortest_that_did_not_diverge():
    curves = [Curve(X[:n], np.ones(n), False) for n in (3, 2)]
    assert band(curves, LOWER).x[-1] == pytest.approx(10.0)
    assert band([*curves, Curve(X[:0], X[:0], False)], LOWER) is None
    assert band([], LOWER) is None


def test_higher_is_better_takes_a_diverged_trial_for_least():
    scale = Scale.of("higher", "plain", ())
    curves = [Curve(X, np.ones(3), False), Curve(X[:1], np.ones(1), True)]
    found = band(curves, scale)
    assert found.high[-1] == 1 and math.isnan(found.low[-1])


def test_a_metric_that_is_not_positive_is_on_no_logarithm(compared):
    _, _, measurements = compared("nag")
    taken = measurements[0]
    assert Scale.of("lower", "log", taken).log
    assert not Scale.of("lower", "plain", taken).log
    assert not Scale.of("lower", "log", [*taken, replace(taken[-1], test_metric=0.0)]).log


def test_curve_begins_after_the_first_update(compared):
    _, trials, measurements = compared("nag", diverged={("nag", 0)})
    curve = Curve.of(trials[0], measurements[0], "examples", "test")
    taken = measurements[0][1:]
    assert curve.x.tolist() == [m.ledger.examples for m in taken]
    assert curve.y[:-1].tolist() == [m.test_metric for m in taken[:-1]]
    assert curve.diverged and len(curve.finite.x) == len(taken) - 1


def test_profiles_begin_together_and_after_nothing_was_spent():
    steps = {"a": [[0.0, 0.0], [20.0, 0.5], [90.0, 0.5]], "b": [[0.0, 0.1], [10.0, 0.4]]}
    summary = {
        "methods": [{"method": "b"}, {"method": "c"}, {"method": "a"}],
        "profiles": {"methods": {m: {"updates": steps[m]} for m in steps}},
    }
    found = profile_steps(summary, "updates")
    # In the order of the methods; c has no outcome.
    assert list(found) == ["b", "a"]
    assert found["a"] == ([10.0, 20.0, 90.0], [0.0, 0.5, 0.5])
    assert found["b"] == ([10.0, 10.0], [0.1, 0.4])


def test_where_nothing_was_reached_there_is_no_profile():
    methods = {"a": {"updates": [[0.0, 0.0], [9.0, 0.0]]}}
    summary = {"methods": [{"method": "a"}], "profiles": {"methods": methods}}
    assert profiled(summary) == {} == profiled({"methods": [{"method": "a"}]})
