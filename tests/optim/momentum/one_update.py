"""One update of K rows that all differ, and how far apart two results of it may be."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.optim.momentum.methods import torch_update

PADDING = 3
"""Columns at the end of a row in which g, v and y are 0, as behind a layout's last view."""

Update = Callable[..., None]


def drawn(rows: int, width: int, dtype: torch.dtype, device: str = "cpu") -> list[Tensor]:
    """y, v, g of all magnitudes, and a column each of ε, μ, ahead and look; every other row looks.

    As in the method, ahead is 1 where a row does not look.
    """
    generator = torch.Generator().manual_seed(rows * 1_000 + width)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    wide = [random(rows, width) * 10 ** random(rows, width) for _ in range(3)]
    for each in wide:
        each[:, width - min(PADDING, width - 1) :] = 0
    look = (torch.arange(rows, dtype=torch.float64)[:, None] + 1) % 2
    ahead = torch.where(look == 1, random(rows, 1).sigmoid(), 1.0)
    columns = [10 ** (random(rows, 1) - 2), random(rows, 1).sigmoid(), ahead, look]
    return [each.to(device, dtype) for each in (*wide, *columns)]


def copied(tensors: list[Tensor]) -> list[Tensor]:
    """The same anew."""
    return [each.clone() for each in tensors]


def assert_agrees_with_torch(update: Update, tensors: list[Tensor]) -> None:
    """Hold one update to torch's, with u the distance from 1 to the next number.

    |Δv'| ≤ u(|μv| + |εg|). What is added to y is d = ahead·v' − look·εg, and
    |Δy'| ≤ u(|y| + |d|) + |Δv'|, where d = v' is exact; a row that looks ahead rounds both
    products and their sum: u(|ahead·v'| + |εg| + |d|) more.
    """
    made, expected = copied(tensors), copied(tensors)
    update(*made)
    torch_update(*expected)
    u = torch.finfo(tensors[0].dtype).eps
    y, v, g, epsilon, mu, ahead, look = (each.double() for each in tensors)
    (y_made, v_made), (y_torch, v_torch) = (
        [each.double() for each in result[:2]] for result in (made, expected)
    )
    apart = (v_made - v_torch).abs()
    assert (apart <= u * ((mu * v).abs() + (epsilon * g).abs())).all()
    one, other = ahead * v_torch, look * epsilon * g
    d = (one - other).abs()
    apart = apart + u * (y.abs() + d) + look * u * (one.abs() + other.abs() + d)
    assert ((y_made - y_torch).abs() <= apart).all()
    for before, after in zip(tensors[3:], made[3:], strict=True):
        assert torch.equal(before, after)
