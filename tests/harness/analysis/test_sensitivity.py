from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.analysis.sensitivity import Point, grid, published, reported, tried, varied

PROTOCOL = {"problem": "curves", "parameters": {}}


def point(value: float | None = 1.0, **hyperparameters: Any) -> Point:
    return Point({"batch": 200, **hyperparameters}, value)


def test_tried_points_have_their_worst_seed_and_the_chosen_one_is_marked() -> None:
    chosen = {"lr": 0.1}
    points = [
        {"hyperparameters": {"lr": 0.5}, "values": [1.0, None], "seeds": [7, 8]},
        {"hyperparameters": chosen, "values": [1.0, 3.0], "seeds": [7, 8]},
    ]
    row = {"tuning": {"trials": 4, "chosen": chosen, "points": points}}
    assert tried(row, "lower") == [Point({"lr": 0.5}, None), Point(chosen, 3.0, chosen=True)]
    assert tried(row, "higher")[1].value == 1.0
    # Comparisons that an earlier version of bench recorded have no points.
    assert tried({"tuning": {"trials": 4, "chosen": chosen}}, "lower") == []


def test_reported_points_leave_out_what_has_no_outcome() -> None:
    rows = [
        {"hyperparameters": {"lr": 0.1}, "n": 2, "final": {"mean": 0.5}},
        {"hyperparameters": {"lr": 0.2}, "n": 2, "final": {"mean": None}},
        {"hyperparameters": {"lr": 0.3}, "n": 0, "final": {"mean": None}},
    ]
    assert reported(rows) == [Point({"lr": 0.1}, 0.5), Point({"lr": 0.2}, None)]


def test_grid_is_laid_out_as_in_the_table() -> None:
    points = [point(lr=lr, mu_max=mu) for mu in (0.99, 0.9) for lr in (0.001, 0.01, 0.05)]
    found = grid(points)
    assert found is not None
    assert found.momenta == (0.9, 0.99) and found.step_sizes == (0.05, 0.01, 0.001)
    assert found.points[0.99, 0.05] is points[2]


def test_without_momentum_a_grid_has_one_row() -> None:
    found = grid([point(lr=0.1), point(lr=0.2)])
    assert found is not None and found.momenta == (None,)


@pytest.mark.parametrize(
    "points",
    [
        [],
        [point(lr=0.1)],
        [point(lr=0.1), point(lr=0.1)],
        # Another hyperparameter varies.
        [point(lr=0.1, l2=0.0), point(lr=0.2, l2=0.1)],
        # There is no ε.
        [point(mu_max=0.9), point(mu_max=0.99)],
        # What is there instead of an ε is no number.
        [point(lr=0.1), point(lr=None)],
        [point(lr=(0.1, 0.2)), point(lr=(0.1, 0.3))],
        # Scattered: three points would make nine cells.
        [point(lr=0.1, mu_max=0.9), point(lr=0.2, mu_max=0.95), point(lr=0.3, mu_max=0.99)],
    ],
)
def test_no_grid(points: list[Point]) -> None:
    assert grid(points) is None


SIZES = st.sampled_from([0.1, 0.05, 0.01])


@given(st.sets(st.tuples(SIZES, st.sampled_from([0.9, 0.99])), min_size=2))
def test_every_point_of_a_grid_is_in_its_cell(pairs: set[tuple[float, float]]) -> None:
    points = [point(lr=lr, mu_max=mu) for lr, mu in sorted(pairs)]
    assert set(varied(points)) <= {"lr", "mu_max"}
    found = grid(points)
    if found is not None:
        assert {(size, mu) for mu, size in found.points} == pairs
        assert 2 * len(pairs) >= len(found.momenta) * len(found.step_sizes)


def test_published_values_are_those_of_the_column() -> None:
    assert published(PROTOCOL, "nag", 0.99) == 0.096
    assert published(PROTOCOL, "cm", 0.99) == 0.10
    assert published(PROTOCOL, "sgd", None) == 0.48
    assert published(PROTOCOL, "nag", 0.97) is None
    assert published(PROTOCOL, "hf", 0.99) is None
    assert published({"problem": "add", "parameters": {}}, "nag", 0.99) is None
    # With brackets it is another problem than the published one.
    assert published({"problem": "curves", "parameters": {"scale": 2.0}}, "nag", 0.99) is None
