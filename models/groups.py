"""Groups of rows that share their cases.

K rows stand in G groups of K / G, one group after another, and row k sees the cases of group
⌊k·G/K⌋: G = K where every row has its own, G = 1 where all see the same. The products here do
not copy what a group shares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor


def by_group(
    cases: Float[Tensor, "G ..."], rows: int
) -> Iterator[tuple[slice, Float[Tensor, "R ..."]]]:
    """Yield the rows of each group and its cases as they see them, all in the same memory."""
    size = rows // cases.shape[0]
    for group, first in enumerate(range(0, rows, size)):
        yield slice(first, first + size), cases[group].expand(size, *cases.shape[1:])


def affine_into(
    out: Float[Tensor, "K B m"],
    x: Float[Tensor, "G B n"],
    weight: Float[Tensor, "K n m"],
    bias: Float[Tensor, "K m"],
) -> None:
    """out ← x W + b, one product for all rows of a group."""
    if x.shape[0] == out.shape[0]:
        torch.baddbmm(bias.unsqueeze(1), x, weight, out=out)
        return
    for rows, seen in by_group(x, out.shape[0]):
        torch.baddbmm(bias[rows].unsqueeze(1), seen, weight[rows], out=out[rows])


def product_into(
    out: Float[Tensor, "K n m"], x: Float[Tensor, "G B n"], delta: Float[Tensor, "K B m"]
) -> None:
    """out ← xᵀ δ, one product for all rows of a group."""
    if x.shape[0] == out.shape[0]:
        torch.bmm(x.mT, delta, out=out)
        return
    for rows, seen in by_group(x, out.shape[0]):
        torch.bmm(seen.mT, delta[rows], out=out[rows])


def over_groups(
    function: Callable[[Tensor, Tensor], Tensor],
    values: Float[Tensor, "K ..."],
    cases: Float[Tensor, "G ..."],
) -> Float[Tensor, "K ..."]:
    """Return function(values, cases), where every row sees what is its group's.

    Dimensions broadcast and the function leaves the first ones alone: it may be given values
    (G, K / G, …) and cases (G, 1, …).
    """
    rows, groups = values.shape[0], cases.shape[0]
    if groups in (1, rows):
        return function(values, cases)
    return function(values.unflatten(0, (groups, -1)), cases.unsqueeze(1)).flatten(0, 1)


def curvature_over_groups(
    curvature_at: Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]],
    values: Float[Tensor, "K ..."],
    cases: Float[Tensor, "G ..."],
) -> Callable[[Float[Tensor, "K ..."]], Float[Tensor, "K ..."]]:
    """Return the map curvature_at(values, cases), where every row sees what is its group's."""
    rows, groups = values.shape[0], cases.shape[0]
    if groups in (1, rows):
        return curvature_at(values, cases)
    curved = curvature_at(values.unflatten(0, (groups, -1)), cases.unsqueeze(1))
    return lambda r: curved(r.unflatten(0, (groups, -1))).flatten(0, 1)


def for_rows(cases: Float[Tensor, "G ..."], rows: int) -> Float[Tensor, "K ..."]:
    """Return what each row sees: a copy where 1 < G < K, otherwise the same memory."""
    if cases.shape[0] == rows:
        return cases
    size = rows // cases.shape[0]
    return cases.unsqueeze(1).expand(-1, size, *cases.shape[1:]).flatten(0, 1)
