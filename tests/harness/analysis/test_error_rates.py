"""Verdicts and intervals keep what docs/statistics.md promises, where the truth is known."""

from __future__ import annotations

import math

import pytest

from bench.harness.analysis.statistics import seeds_to_decide
from tests.harness.analysis import error_rates
from tests.harness.analysis.error_rates import (
    COMPARISONS,
    CONTINUOUS,
    NOISES,
    attainable,
    coverage,
    false_equivalents,
    false_verdicts,
    power,
)

FEW = 300


def within(rate, expected, comparisons=COMPARISONS):
    """Four standard errors of a share of so many."""
    return abs(rate - expected) <= 4 * math.sqrt(expected * (1 - expected) / comparisons)


def at_most(rate, bound, comparisons=COMPARISONS):
    return rate <= bound or within(rate, bound, comparisons)


def check_false_verdicts(noise, methods, seeds, comparisons):
    rate = false_verdicts(noise, methods, seeds, comparisons)
    size = attainable(methods, seeds)
    assert size <= 0.05 and at_most(rate, size, comparisons)
    if noise in CONTINUOUS:
        assert within(rate, size, comparisons)


@pytest.mark.parametrize(("methods", "seeds"), [(2, 5), (2, 6), (2, 8), (4, 7), (4, 8)])
def test_false_verdicts(methods, seeds):
    check_false_verdicts("normal", methods, seeds, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("seeds", [6, 12])
def test_false_verdicts_of_two_methods(noise, seeds):
    check_false_verdicts(noise, 2, seeds, COMPARISONS)


@pytest.mark.slow
def test_false_verdicts_of_four_methods():
    check_false_verdicts("skewed", 4, 8, COMPARISONS)


def test_tied_results_of_four_methods():
    check_false_verdicts("tied", 4, 8, FEW)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("seeds", "alpha"), [(6, 0.05), (8, 0.1), (12, 0.05)])
def test_permutation_intervals_cover(noise, seeds, alpha):
    missed = 1 - coverage(noise, seeds, alpha)
    size = attainable(2, seeds, alpha)
    assert at_most(missed, size)
    if noise in CONTINUOUS:
        assert within(missed, size)


@pytest.mark.slow
def test_sampled_permutation_intervals_cover():
    """The interval excludes 0 exactly where p is at most 0.05: these are false verdicts as well."""
    assert within(1 - coverage("normal", 25), 0.05)


def test_t_intervals_cover_where_differences_are_normal():
    assert within(1 - coverage("normal", 5), 0.05)


@pytest.mark.parametrize("noise", CONTINUOUS)
def test_equivalent_at_the_edge_of_the_margin(noise):
    rate = false_equivalents(noise, 8, FEW)
    # One of the two sides of a 90 % interval.
    assert within(rate, attainable(2, 8, 0.1) / 2, FEW) and rate < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
def test_equivalent_is_wrong_in_one_of_twenty_at_most(noise):
    assert at_most(false_equivalents(noise, 6), attainable(2, 6, 0.1) / 2)


def test_power_rises_with_seeds_and_with_the_effect():
    by_seeds = [power(1.0, seeds, FEW) for seeds in (5, 6, 8, 12)]
    assert by_seeds[0] == 0 and by_seeds == sorted(by_seeds)
    assert by_seeds[1] < by_seeds[2] - 0.1 < by_seeds[3] - 0.2
    by_effect = [power(effect, 8, FEW) for effect in (0.0, 0.5, 1.0, 2.0)]
    assert by_effect[0] < 0.05 + 0.05 and by_effect == sorted(by_effect)
    assert by_effect[3] > 0.95


def test_seeds_to_decide_decide():
    """The approximation by t tests is near what the permutation test does."""
    seen = [0.2, 1.8, 1.0, -0.5, 2.5, 1.0]
    effect = 1.0 / 1.1045
    seeds = seeds_to_decide(seen, margin=0.0)
    assert seeds > 6
    assert power(effect, seeds, FEW) == pytest.approx(0.8, abs=0.08)


def test_attainable_size():
    assert [attainable(2, seeds) for seeds in (5, 6, 7)] == [0, 1 / 32, 3 / 64]
    # Three methods: six ordered pairs that a seed's order may hold, under Bonferroni's bound.
    assert 0.9 * 6 / 2**7 < attainable(3, 7) < 6 / 2**7
    with pytest.raises(AssertionError, match="may disagree"):
        attainable(4, 12)


def test_the_figures_can_be_printed(monkeypatch, capsys):
    for name in ("false_verdicts", "coverage", "bootstrap_coverage", "false_equivalents", "power"):
        monkeypatch.setattr(error_rates, name, lambda *of: 0.25)
    error_rates.main()
    assert capsys.readouterr().out.count("25") > 40
