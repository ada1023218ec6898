"""Sparse initialisation: 15 incoming weights a unit, from N(0, 1), anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from models.initialization import FAN_IN, sparse


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return sparse(np.random.default_rng(0), 120, 2000)


def test_each_unit_has_exactly_fifteen_incoming_weights(weights: np.ndarray) -> None:
    assert FAN_IN == 15
    assert weights.shape == (120, 2000)
    assert weights.dtype == np.float64
    assert ((weights != 0).sum(0) == 15).all()


def test_weights_are_standard_normal(weights: np.ndarray) -> None:
    drawn = weights[weights != 0]
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert abs(drawn.mean()) < 4 / np.sqrt(drawn.size)
    assert abs(drawn.var() - 1) < 4 * np.sqrt(2 / drawn.size)


def test_every_input_is_chosen_equally_often_and_independently_of_the_value(
    weights: np.ndarray,
) -> None:
    chosen = (weights != 0).sum(1)
    # Without replacement the counts vary by 1 − 15/120 of what a multinomial's do.
    statistic = ((chosen - 250.0) ** 2 / 250.0).sum() / (1 - 15 / 120)
    assert 0.01 < stats.chi2(119).sf(statistic) < 0.99
    rows, _ = np.nonzero(weights)
    assert abs(stats.spearmanr(rows, weights[weights != 0]).statistic) < 0.02


def test_units_are_unlike_each_other(weights: np.ndarray) -> None:
    assert len({tuple(np.nonzero(column)[0]) for column in weights.T}) == 2000


@pytest.mark.parametrize("fan_in", [1, 6, 15])
def test_a_unit_with_few_inputs_gets_all_of_them(fan_in: int) -> None:
    assert (sparse(np.random.default_rng(1), fan_in, 40) != 0).all()


def test_scale_multiplies_and_changes_nothing_else() -> None:
    plain, scaled = (sparse(np.random.default_rng(2), 50, 7, scale) for scale in (1.0, 0.25))
    np.testing.assert_array_equal(scaled, 0.25 * plain)


def test_one_generator_state_gives_one_matrix() -> None:
    one, again, other = (sparse(np.random.default_rng(seed), 40, 9) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
