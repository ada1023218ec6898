"""Thresholds from noise: how often chance passes them, and which changes do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.harness.analysis.noise import (
    FALSE_ALARM_LEVEL,
    FAMILY_WISE,
    Noise,
    scatter,
    smallest_detectable,
    threshold,
)


def test_the_scatter_of_one_measurement_and_of_a_mean_over_seeds() -> None:
    values = [1.0, 2.0, 4.0, 8.0, 3.0]
    alone = scatter(values, "plain")
    assert alone.sd == pytest.approx(np.std(values, ddof=1))
    assert (alone.df, alone.n, alone.reason) == (4, 5, "")
    assert scatter(values, "plain", seeds=4).sd == pytest.approx(np.std(values, ddof=1) / 2)
    assert scatter(values, "log").sd == pytest.approx(np.std(np.log(values), ddof=1))


@pytest.mark.parametrize(
    ("values", "scale", "reason"),
    [
        ([1.0, None, 2.0, None], "plain", "2 of 4 trials have no final value"),
        ([1.0], "plain", "One measurement"),
        ([1.0, 0.0, 2.0], "log", "no logarithm"),
        ([0.5, 0.5, 0.5], "plain", "All 3 measurements are equal"),
    ],
)
def test_what_has_no_standard_deviation_says_why(values, scale, reason) -> None:
    found = scatter(values, scale)
    assert (found.sd, found.df, found.n) == (None, 0, len(values))
    assert reason in found.reason


def test_a_metric_passes_its_threshold_by_chance_in_its_share_of_a_thousandth() -> None:
    assert FAMILY_WISE == 1 / 1000
    for df, family in ((4, 1), (19, 8), (50, 40)):
        # The difference of two nights over sd·√2 has a t distribution.
        beyond = 2 * stats.t.sf(threshold(0.3, df, family) / (0.3 * math.sqrt(2)), df)
        assert beyond * family == pytest.approx(1 / 1000, rel=1e-9)


@pytest.mark.parametrize("common", [0.0, 0.9])
def test_the_family_wise_rate_where_nothing_changes(common: float) -> None:
    """At a larger alpha, which can be counted; of metrics that share some of their noise, too."""
    rng, nights, family, repeated, alpha = np.random.default_rng(0), 20_000, 8, 20, 0.1
    shape = (nights, family)

    def values(n: int) -> np.ndarray:
        shared = rng.normal(size=(n, nights, 1))
        return math.sqrt(common) * shared + math.sqrt(1 - common) * rng.normal(size=(n, *shape))

    sd = values(repeated).std(0, ddof=1)
    tonight, accepted = values(2)
    beyond = np.abs(tonight - accepted) > threshold(1.0, repeated - 1, family, alpha) * sd
    rate = beyond.any(1).mean()
    error = 3 * math.sqrt(alpha * (1 - alpha) / nights)
    assert rate <= alpha + error
    assert beyond.mean() * family == pytest.approx(alpha, abs=0.015)
    if not common:
        assert rate == pytest.approx(1 - (1 - alpha / family) ** family, abs=error)


@pytest.mark.parametrize(("df", "family"), [(9, 1), (19, 8)])
def test_the_smallest_detectable_change_is_found_with_its_power(df: int, family: int) -> None:
    rng, nights = np.random.default_rng(1), 20_000
    change = smallest_detectable(1.0, df, family)
    difference = rng.normal(change, math.sqrt(2), nights)
    sd = np.sqrt(rng.chisquare(df, nights) / df)
    found = difference > threshold(1.0, df, family) * sd
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    assert smallest_detectable(2.0, df, family) == pytest.approx(2 * change)


def test_a_slower_update_is_detectable_up_to_a_scatter_of_1_7_per_cent() -> None:
    """As docs/statistics.md says, of 15 % among 8 metrics with 20 measurements."""
    assert smallest_detectable(0.017, 19, 8) == pytest.approx(math.log(1.15), rel=0.005)


def test_pairs_of_nights_made_up_of_normal_values_differ_at_the_checked_rate() -> None:
    rng = np.random.default_rng(2)
    # Of four values two are left, and the t of one degree of freedom is far from normal.
    for n, seeds, draws in ((20, 1, 60), (20, 6, 60), (4, 1, 600)):
        values = rng.normal(size=(draws, n))
        rates = [scatter(list(each), "plain", seeds).false_alarms for each in values]
        assert np.mean(rates) == pytest.approx(FALSE_ALARM_LEVEL, abs=0.012)


def test_two_kinds_of_nights_differ_more_often_than_normal_ones() -> None:
    """A machine that is fast or slow for a night, and seldom slow: a pair may be one of each."""
    values = [0.0, 0.001, -0.001, 0.002, -0.002, 0.003, -0.003, 0.0005, 0.0015, 1.0]
    found = scatter(values, "plain").false_alarms
    assert found is not None and found > 3 * FALSE_ALARM_LEVEL


def test_too_few_values_say_nothing_of_false_alarms() -> None:
    assert scatter([1.0, 2.0, 3.0], "plain").false_alarms is None
    assert scatter([1.0, 2.0, 3.0, 5.0], "plain").false_alarms is not None
    assert scatter([1.0, 2.0, 3.0, 5.0, 6.0], "plain", seeds=2).false_alarms is None


def test_noise_is_read_back_as_it_was_written() -> None:
    noise = Noise(
        "time", "k", "curves / quick", "nag", "update", "c", "log", 0.1, 19, 20, 1, 0.05, ""
    )
    assert Noise.from_dict(noise.as_dict()) == noise
