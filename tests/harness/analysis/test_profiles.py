import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.harness.analysis.profiles import profile, refined
from bench.harness.analysis.targets import Course
from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import CURRENCIES

VALUES = st.lists(st.sampled_from([8.0, 4.0, 2.0, 1.0, math.nan]), min_size=1, max_size=6)


def course(values, step=10):
    """Evaluated every `step` gradients; a second is 5 of them."""
    taken = [
        Measurement(i, Ledger(gradients=float(step * i), seconds=step * i / 5), v, v, v, v)
        for i, v in enumerate(values)
    ]
    return Course(taken, taken[-1].ledger, whole=True)


def share(steps, at):
    return [y for x, y in steps if x <= at][-1]


def test_refined_targets():
    assert refined([2.5, 1.0, 0.3])[::5] == [2.5, 1.0, 0.3]
    assert len(refined([2.5, 1.0, 0.3])) == 11
    ratios = np.diff(np.log(refined([1.0, 0.01])))
    assert ratios == pytest.approx([math.log(0.01) / 5] * 5)
    assert refined([0.5, 1.0]) == pytest.approx(refined([1.0, 0.5])[::-1])
    # Where there is no logarithm they are spaced evenly.
    assert refined([1.0, 0.0]) == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0])
    assert refined([1.0]) == [1.0] and refined([]) == []


@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(["lower", "higher"]))
@settings(max_examples=60, deadline=None)
def test_it_is_the_share_of_pairs_reached(drawn, direction):
    targets = [6.0, 3.0, 1.0]
    found = profile([course(values) for values in drawn], targets, direction)
    at = found["gradients"]
    for spent in (0, 5, 10, 20, 35, 1000):
        seen = [values[: spent // 10 + 1] for values in drawn]
        reached = [
            any(v <= target if direction == "lower" else v >= target for v in values)
            for values in seen
            for target in targets
        ]
        assert share(at, spent) == pytest.approx(np.mean(reached))
    xs, shares = zip(*at, strict=True)
    assert xs[0] == 0 and xs[-1] == max(10 * (len(values) - 1) for values in drawn)
    assert list(xs) == sorted(set(xs)) and list(shares) == sorted(shares)
    # Only where it rises, and at the two ends.
    assert all(a < b for a, b in zip(shares[:-1], shares[1:-1], strict=False))
    assert found["seconds"] == [[x / 5, y] for x, y in at]
    assert found.keys() == set(CURRENCIES)


def test_faster_is_higher_and_never_there_stays_below():
    fast, slow = ([course([8, 4, 2, 1], step)] for step in (10, 20))
    targets = [4.0, 2.0, 1.0, 0.5]
    a, b = (profile(of, targets, "lower")["gradients"] for of in (fast, slow))
    assert all(share(a, x) >= share(b, x) for x in range(70)) and share(a, 30) > share(b, 30)
    assert a == [[0, 0], [10, 0.25], [20, 0.5], [30, 0.75]]
    both = profile([*fast, course([8, math.nan])], targets, "lower")["gradients"]
    assert both[-1] == [30, 0.375]
