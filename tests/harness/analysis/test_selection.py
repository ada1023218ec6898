import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.harness.analysis.selection import best, expected_best, worst


def test_the_worst_seed_decides():
    candidates = {"steady": [1.0, 1.0], "wild": [0.01, 1.5]}
    assert best(candidates, "lower") == "steady"
    assert best(candidates, "higher") == "steady"
    assert best({"x": [0.9, 3.0], "y": [1.0, 2.9]}, "lower") == "y"
    assert worst(candidates["wild"], "lower") == 1.5
    assert worst(candidates["wild"], "higher") == 0.01
    assert worst([1.0, None], "lower") is None


def test_diverged_candidates_rank_last():
    candidates = {0: [None, None], 1: [1e-9, None], 2: [5.0, 5.0]}
    assert best(candidates, "lower") == 2
    del candidates[2]
    assert best(candidates, "lower") == 1
    assert best({0: [None], 1: [float("nan")]}, "higher") == 0


def test_ties_go_to_the_first():
    assert best({"b": [1.0], "a": [1.0]}, "lower") == "b"


@pytest.mark.parametrize("candidates", [{}, {"a": []}])
def test_nothing_to_choose_from(candidates):
    with pytest.raises(ValueError, match="at least one trial"):
        best(candidates, "lower")


@given(st.lists(st.integers(0, 9).map(float), min_size=1, max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_expected_best_is_the_mean_over_all_subsets(values, lower):
    found = expected_best(values, "lower" if lower else "higher")
    pick = min if lower else max
    for k, value in enumerate(found, 1):
        subsets = [pick(subset) for subset in itertools.combinations(values, k)]
        assert value == pytest.approx(np.mean(subsets))


def test_expected_best_with_diverged_trials():
    assert expected_best([None, 2.0, 1.0], "lower") == [None, pytest.approx(4 / 3), 1.0]
