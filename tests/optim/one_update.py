"""One update of K rows that all differ, and how far apart two results of it may be."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from optim.momentum import torch_update

PADDING = 3
"""Columns at the end of a row in which g, v and θ are 0, as behind a layout's last view."""

Update = Callable[..., None]


def drawn(
    rows: int, width: int, dtype: torch.dtype, looks: bool, device: str = "cpu"
) -> list[Tensor]:
    """θ, v, y, g of all magnitudes, and a column each of ε, μ and ahead; y is θ unless `looks`."""
    generator = torch.Generator().manual_seed(rows * 1_000 + width)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    wide = [random(rows, width) * 10 ** random(rows, width) for _ in range(4)]
    for each in wide:
        each[:, width - min(PADDING, width - 1) :] = 0
    columns = [10 ** (random(rows, 1) - 2), random(rows, 1).sigmoid(), random(rows, 1).sigmoid()]
    if not looks:
        wide[2], columns[2] = wide[0], torch.zeros(rows, 1)
    tensors = [each.to(device, dtype) for each in (*wide, *columns)]
    if not looks:
        tensors[2] = tensors[0]
    return tensors


def copied(tensors: list[Tensor]) -> list[Tensor]:
    """The same anew; y is θ again where it was."""
    theta, v, y, *others = (each.clone() for each in tensors)
    return [theta, v, theta if tensors[2] is tensors[0] else y, *others]


def assert_agrees_with_torch(update: Update, tensors: list[Tensor]) -> None:
    """Hold one update to torch's, with u the distance from 1 to the next number.

    |Δv'| ≤ u(|μv| + |εg|), |Δθ'| ≤ u(|θ| + |v'|) + |Δv'|, and for y' likewise.
    """
    made, expected = copied(tensors), copied(tensors)
    update(*made)
    torch_update(*expected)
    u = torch.finfo(tensors[0].dtype).eps
    theta, v, _, g, epsilon, mu, ahead = (each.double() for each in tensors)
    (theta_made, v_made, y_made), (theta_torch, v_torch, y_torch) = (
        [each.double() for each in result[:3]] for result in (made, expected)
    )
    apart = (v_made - v_torch).abs()
    assert (apart <= u * ((mu * v).abs() + (epsilon * g).abs())).all()
    apart = u * (theta.abs() + v_torch.abs()) + apart
    assert ((theta_made - theta_torch).abs() <= apart).all()
    apart = u * (theta_torch.abs() + (ahead * v_torch).abs()) + 2 * apart
    assert ((y_made - y_torch).abs() <= apart).all()
    for before, after in zip(tensors[3:], made[3:], strict=True):
        assert torch.equal(before, after)
