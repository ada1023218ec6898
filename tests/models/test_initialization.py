"""Initialisations: what each part draws, and what a problem's brackets make of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.models.built_in import PROBLEMS
from bench.models.initialization import (
    FAN_IN,
    INITIALIZATIONS,
    Gaussian,
    Glorot,
    He,
    Sparse,
    sparse_tanh,
)

FAMILIES = ("curves", "add")


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return Sparse().weights(np.random.default_rng(0), 120, 2000)


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
    assert (Sparse().weights(np.random.default_rng(1), fan_in, 40) != 0).all()


def test_the_fan_in_is_free() -> None:
    assert ((Sparse(fan_in=4).weights(np.random.default_rng(1), 50, 40) != 0).sum(0) == 4).all()


def test_for_tanh_units_weights_are_a_quarter_and_biases_a_half() -> None:
    plain, tanh = Sparse(), sparse_tanh()
    drawn = [part.weights(np.random.default_rng(2), 50, 7) for part in (plain, tanh)]
    np.testing.assert_array_equal(drawn[1], 0.25 * drawn[0])
    assert (plain.bias, tanh.bias) == (0.0, 0.5)


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_scale_multiplies_and_changes_nothing_else(name: str) -> None:
    make, usual = INITIALIZATIONS[name]
    half = {"scale": usual["scale"] / 2}
    plain, scaled = (make(**given).weights(np.random.default_rng(2), 50, 7) for given in ({}, half))
    np.testing.assert_allclose(scaled, 0.5 * plain, rtol=1e-15)


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_one_generator_state_gives_one_matrix(name: str) -> None:
    part = INITIALIZATIONS[name][0]()
    one, again, other = (part.weights(np.random.default_rng(s), 40, 9) for s in (3, 3, 4))
    assert one.shape == (40, 9)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_glorot_is_uniform_with_the_variance_of_its_equation() -> None:
    drawn = Glorot().weights(np.random.default_rng(0), 300, 100).ravel()
    limit = np.sqrt(6 / 400)
    assert stats.kstest(drawn, "uniform", (-limit, 2 * limit)).pvalue > 0.01
    assert drawn.var() == pytest.approx(2 / 400, rel=0.03)


def test_he_and_the_plain_gaussian_are_normal() -> None:
    he = He().weights(np.random.default_rng(0), 300, 100).ravel()
    plain = Gaussian(0.3).weights(np.random.default_rng(1), 300, 100).ravel()
    assert stats.kstest(he, "norm", (0, np.sqrt(2 / 300))).pvalue > 0.01
    assert stats.kstest(plain, "norm", (0, 0.3)).pvalue > 0.01


@pytest.mark.parametrize("problem", FAMILIES)
@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_every_part_starts_both_families(problem: str, name: str) -> None:
    made = PROBLEMS[problem]("quick", init=name)
    theta = made.initialize(np.random.default_rng(0))
    views, part = made.layout.views(theta), INITIALIZATIONS[name][0]()
    inner = views["bh" if problem == "add" else "b1"]
    assert (inner == part.bias).all()
    assert part.rule in made.initialization
    # Padding stays 0.
    assert theta.count_nonzero() == sum(view.count_nonzero() for view in views.values())
    assert all(view.any() for key, view in views.items() if key.startswith("W"))


@pytest.mark.parametrize("problem", FAMILIES)
def test_a_start_written_out_is_the_same_protocol(problem: str) -> None:
    usual = PROBLEMS[problem]("quick")
    init = "sparse" if problem == "curves" else "esn"
    same = PROBLEMS[problem]("quick", init=init)
    assert same.parameters == usual.parameters
    assert same.initialization == usual.initialization
    half = PROBLEMS[problem]("quick", init="sparse", scale="0.5")
    assert half.parameters["scale"] == 0.5
    assert "0.5·N(0, 1)" in half.initialization
    written = PROBLEMS[problem]("quick", init="sparse", scale="1.0", fan_in="15")
    assert "scale" not in written.parameters and "fan_in" not in written.parameters


def test_a_smaller_scale_is_the_same_draw_scaled() -> None:
    one, half = (
        PROBLEMS["curves"]("quick", scale=scale).initialize(np.random.default_rng(5))
        for scale in (1, 0.5)
    )
    assert (half == 0.5 * one).all()


@pytest.mark.parametrize(
    ("problem", "given", "said"),
    [
        ("curves", {"init": "xavier"}, "init=xavier: allowed are sparse, sparse_tanh, glorot"),
        ("curves", {"scale": "0"}, "scale=0: a number greater than 0"),
        ("curves", {"scale": "nan"}, "scale=nan: a number greater than 0"),
        ("curves", {"fan_in": "1.5"}, "fan_in=1.5: a whole number from 1"),
        ("curves", {"init": "he", "fan_in": "3"}, "fan_in=3: init=he takes scale"),
        ("curves", {"radius": "1"}, "no parameter radius; it has init, scale, fan_in"),
        ("add", {"init": "he", "radius": "1"}, "radius=1: only init=esn takes it"),
        ("add", {"scale": "1"}, "scale=1: init=esn takes radius and input_scale"),
        ("add", {"radius": "-1"}, "radius=-1: a number greater than 0"),
    ],
)
def test_what_a_start_cannot_be_is_said(problem: str, given: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PROBLEMS[problem]("quick", **given)
