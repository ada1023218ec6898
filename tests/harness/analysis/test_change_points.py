"""Steps in a series: found soon, seldom where there is none, and never by looking ahead."""

from __future__ import annotations

import numpy as np
import pytest

from bench.harness.analysis.change_points import Change, find_change_points

LEVEL = [0.0, 0.5, -0.5, 0.25, -0.25, 0.0, 0.5, -0.5]
STEP = [*LEVEL, 5.0, 4.5, 5.5]


def test_a_step_has_its_place_and_its_size_in_standard_deviations() -> None:
    (found,) = find_change_points(STEP, sd=1.0)
    assert (found.index, found.found) == (8, 9)
    assert found.size == pytest.approx(4.75)
    assert find_change_points([10 * x for x in STEP], sd=10.0) == [found]
    (down,) = find_change_points([-x for x in STEP], sd=1.0)
    assert down == Change(8, 9, -found.size)
    assert find_change_points(STEP, sd=10.0) == []


def test_a_single_night_that_is_off_is_no_new_level() -> None:
    assert find_change_points([*LEVEL, 4.0], sd=1.0) == []
    assert find_change_points([*LEVEL, 4.0, 0.0, *LEVEL], sd=1.0) == []


def test_a_large_step_is_one_and_begins_where_it_does() -> None:
    assert find_change_points([0.0] * 8 + [6.0] * 4, sd=1.0) == [Change(8, 9, 6.0)]


def test_a_smaller_step_is_dated_to_where_it_began() -> None:
    values = [*LEVEL, 2.0, 2.0, 2.0, 2.0, 2.0]
    (found,) = find_change_points(values, sd=1.0)
    assert found.index == 8
    assert 8 < found.found <= 12


def test_the_series_begins_anew_at_a_step() -> None:
    back = find_change_points([*STEP, *STEP, *LEVEL], sd=1.0)
    assert [change.index for change in back] == [8, 11, 19, 22]
    assert [change.size > 0 for change in back] == [True, False, True, False]
    assert back[2].size == pytest.approx(4.75 - np.mean(LEVEL), abs=0.01)


def test_nights_without_a_value_are_passed_over() -> None:
    values = [None, *LEVEL[:4], None, *LEVEL[4:], None, 5.0, None, 4.5]
    (found,) = find_change_points(values, sd=1.0)
    assert values[found.index] == 5.0
    assert found.size == pytest.approx(4.75)
    assert (
        find_change_points([], sd=1.0)
        == find_change_points([None, None], sd=1.0, reference=1.0)
        == []
    )


def test_what_was_accepted_is_a_night_before_the_first() -> None:
    assert find_change_points([5.0, 5.0, 5.0], sd=1.0) == []
    (found,) = find_change_points([5.0, 5.0, 5.0], sd=1.0, reference=0.0)
    assert (found.index, found.found) == (0, 1)


def test_a_reference_that_is_the_first_night_counts_once() -> None:
    values = [0.0, 3.5, 3.5]
    assert (
        find_change_points(values, sd=1.0, reference=0.0)
        == find_change_points(values, sd=1.0)
        == []
    )
    # Twice it would have made this a change.
    assert find_change_points([0.0, *values], sd=1.0) != []


def test_what_is_found_needs_no_later_night() -> None:
    values = list(np.random.default_rng(3).normal(size=60) + np.repeat([0.0, 3.0, 1.0], 20))
    found = find_change_points(values, sd=1.0)
    assert found
    for t in range(len(values)):
        assert find_change_points(values[: t + 1], 1.0) == [c for c in found if c.found <= t]


@pytest.mark.parametrize(("before", "share"), [(10, 0.77), (20, 0.86), (50, 0.91)])
def test_a_step_of_two_standard_deviations_is_found_within_five_nights(before, share) -> None:
    """With the share that the module states, of series in which nothing was found before."""
    rng = np.random.default_rng(4)
    found = []
    for _ in range(500):
        values = rng.normal(size=before + 5)
        values[before:] += 2
        changes = find_change_points(list(values), sd=1.0)
        if all(change.found >= before for change in changes):
            found.append(bool(changes))
    assert np.mean(found) == pytest.approx(share, abs=0.04)


def test_a_series_that_does_not_change_seldom_seems_to() -> None:
    """The first change is found after some 260 nights on average, as the module states."""
    rng = np.random.default_rng(5)
    nights, series = 0, 0
    for _ in range(200):
        found = find_change_points(list(rng.normal(size=100)), sd=1.0)
        nights += found[0].found + 1 if found else 100
        series += bool(found)
    assert 200 < nights / series < 340
