"""Edges of grids and ranges, and the values that continue or divide a grid."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.analysis.grids import Axis, Scale, Side

PAPER = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05)
MOMENTA = (0.9, 0.99, 0.995, 0.999)


def axis(*tried: float, scale: Scale = "log", limits: tuple[float, float] | None = None) -> Axis:
    return Axis("x", tried, scale, limits)


@pytest.mark.parametrize(
    ("grid", "smaller", "larger"),
    [
        (axis(*PAPER), 0.00005, 0.1),
        (axis(0.01, 0.1, 1.0), 0.001, 10.0),
        (axis(0.3, 1.0, 3.0, 10.0), 0.1, 30.0),
        (axis(1.0, 2.0, 5.0, 10.0), 0.5, 20.0),
        # Within a decade nothing says which digits the grid has; it goes on by its ratio.
        (axis(0.1, 0.2), 0.05, 0.4),
        (axis(0.01, 0.03), 0.00333, 0.09),
        (axis(0.15, 1.5), 0.015, 15.0),
        # Finer than three digits.
        (axis(1.0, 1.0001), 1 / 1.0001, 1.0001**2),
        (axis(*MOMENTA, scale="log from one"), 0.5, 0.9995),
        (axis(2.0, 4.0, 5.0, scale="linear"), 0.0, 6.0),
        (axis(0.1, 0.2, scale="linear"), 0.0, 0.3),
    ],
)
def test_a_grid_goes_on_as_it_is(grid: Axis, smaller: float, larger: float) -> None:
    assert grid.beyond("smallest") == pytest.approx(smaller, rel=1e-15, abs=0)
    assert grid.beyond("largest") == pytest.approx(larger, rel=1e-15, abs=0)


grids = st.lists(
    st.floats(1e-6, 0.999, allow_subnormal=False), min_size=2, max_size=6, unique=True
).map(lambda values: tuple(sorted(values)))
apart = grids.filter(lambda grid: all(b / a > 1.02 for a, b in zip(grid, grid[1:], strict=False)))


@given(apart, st.sampled_from(["linear", "log"]), st.sampled_from(["smallest", "largest"]))
def test_what_comes_next_lies_beyond(grid: tuple[float, ...], scale: Scale, side: Side) -> None:
    value = axis(*grid, scale=scale).beyond(side)
    assert value > grid[-1] if side == "largest" else value < grid[0]
    if scale == "log":
        assert value > 0


@given(st.lists(st.integers(1, 999), min_size=2, max_size=6, unique=True),
       st.sampled_from(["smallest", "largest"]))  # fmt: skip
def test_beyond_is_the_same_from_either_end_of_the_scale_from_one(
    thousandths: list[int], side: Side
) -> None:
    grid = tuple(sorted(n / 1000 for n in thousandths))
    value = axis(*grid, scale="log from one").beyond(side)
    assert value < 1 and (value > grid[-1] if side == "largest" else value < grid[0])


@given(apart, st.sampled_from(["linear", "log", "log from one"]))
def test_halfway_lies_between(grid: tuple[float, ...], scale: Scale) -> None:
    low, high = grid[0], grid[-1]
    if (1 - low) / (1 - high) > 1.02:
        assert low < axis(*grid, scale=scale).between(low, high) < high


def test_halfway_is_halfway_on_the_scale() -> None:
    assert axis(0.01, 1.0).between(0.01, 1.0) == 0.1
    assert axis(0.9, 0.999, scale="log from one").between(0.9, 0.999) == 0.99
    assert axis(1.0, 4.0, scale="linear").between(1.0, 4.0) == 2.5
    assert axis(0.01, 0.02).between(0.02, 0.01) == 0.0141


def test_the_edges_of_a_grid_are_its_ends() -> None:
    sides = [axis(*PAPER).side(value) for value in PAPER]
    assert sides == ["smallest", None, None, None, None, "largest"]


@pytest.mark.parametrize(
    ("scale", "limits", "inside", "outside"),
    [
        # A twentieth of three decades is 10^0.15.
        ("log", (1e-3, 1.0), (1.42e-3, 0.70), (1.41e-3, 0.71)),
        ("log from one", (0.9, 0.999), (0.9207, 0.99873), (0.9205, 0.99876)),
        ("linear", (0.0, 100.0), (5.1, 94.9), (5.0, 95.0)),
    ],
)
def test_the_edges_of_a_range_are_its_outer_twentieth(
    scale: Scale,
    limits: tuple[float, float],
    inside: tuple[float, float],
    outside: tuple[float, float],
) -> None:
    # Whether a draw is the outermost one says nothing.
    drawn = axis(*inside, scale=scale, limits=limits)
    assert [drawn.side(value) for value in inside] == [None, None]
    assert [drawn.side(value) for value in outside] == ["smallest", "largest"]


def test_neighbours() -> None:
    assert axis(*PAPER).neighbours(0.0001) == [0.0005]
    assert axis(*PAPER).neighbours(0.005) == [0.001, 0.01]
    assert axis(*PAPER).neighbours(0.05) == [0.01]
    assert math.prod(axis(2.0, 8.0).neighbours(8.0)) == 2.0
