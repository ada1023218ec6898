"""Views into the flat parameter vector: alignment, padding, aliasing."""

from __future__ import annotations

import math

import pytest
import torch

from bench.models.layout import ALIGNMENT, Layout

LAYOUT = Layout({"W1": (3, 5), "b1": (5,), "W2": (5, 16), "b2": (16,), "gain": ()})


def test_size_counts_padding_and_count_does_not() -> None:
    assert LAYOUT.count == 15 + 5 + 80 + 16 + 1
    assert LAYOUT.size == 16 + 16 + 80 + 16 + 16


@pytest.mark.parametrize("rows", [1, 3])
def test_views_and_rows_start_at_64_bytes(rows: int) -> None:
    theta = torch.zeros(rows, LAYOUT.size)
    for view in LAYOUT.views(theta).values():
        for k in range(rows):
            assert view[k].data_ptr() % 64 == 0
            assert view[k].storage_offset() % ALIGNMENT == 0


def test_views_write_to_theta_without_overlap_and_leave_padding_alone() -> None:
    theta = torch.zeros(2, LAYOUT.size)
    views = LAYOUT.views(theta)
    assert {name: tuple(view.shape) for name, view in views.items()} == {
        name: (2, *shape) for name, shape in LAYOUT.shapes.items()
    }
    for number, view in enumerate(views.values(), 1):
        view.fill_(number)
    for number, shape in enumerate(LAYOUT.shapes.values(), 1):
        assert (theta == number).sum() == 2 * math.prod(shape)
    assert (theta == 0).sum() == 2 * (LAYOUT.size - LAYOUT.count)


def test_any_leading_shape_will_do() -> None:
    assert LAYOUT.views(torch.zeros(LAYOUT.size))["W2"].shape == (5, 16)
    assert LAYOUT.views(torch.zeros(4, 2, LAYOUT.size))["b1"].shape == (4, 2, 5)


def test_views_of_a_row_are_those_of_the_whole() -> None:
    theta = torch.arange(3.0 * LAYOUT.size).view(3, LAYOUT.size)
    for name, view in LAYOUT.views(theta).items():
        assert torch.equal(view[1], LAYOUT.views(theta[1])[name])
