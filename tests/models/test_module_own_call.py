"""A row alone is trained by the module's own call, with θ's memory in its parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.models.autodiff import AutodiffPasses
from tests.models.test_from_module import SOURCE, problem


class Mixed(nn.Module):
    """A tied, a frozen and a normalised layer, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.norm = nn.LayerNorm(5)
        self.last = nn.Linear(5, 3)
        self.frozen = nn.Linear(5, 5)
        self.frozen.requires_grad_(False)
        self.register_buffer("scale", torch.tensor(0.7))
        with torch.no_grad():
            for each in self.frozen.parameters():
                each.copy_(torch.linspace(-1, 1, each.numel()).view(each.shape))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.second(torch.tanh(self.first(x)))) + self.frozen(x)
        out: Tensor = self.last(self.norm(h) * self.scale)
        return out


def cases(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    return (
        torch.randn(1, 8, 5, generator=draw).to(dtype),
        torch.randn(1, 8, 3, generator=draw).to(dtype),
    )


def test_fleets_that_take_turns_get_the_gradients_of_their_own_parameters() -> None:
    own = problem(Mixed)
    own.data(SOURCE)
    readable = AutodiffPasses(own)
    turns = []
    for seed, dtype in enumerate([torch.float32, torch.float64, torch.float32]):
        draw = torch.Generator().manual_seed(seed)
        theta = torch.randn(1, own.layout.size, generator=draw).to(dtype) / 3
        turns.append((own.passes(), theta, torch.zeros_like(theta)))
    for _ in range(3):
        for passes, theta, out in turns:
            x, t = cases(theta.dtype)
            loss = passes.gradient(theta, x, t, out)
            expected = torch.zeros_like(theta)
            assert torch.equal(loss, readable.gradient(theta, x, t, expected))
            assert torch.equal(out, expected)
            theta -= 0.1 * out


def test_other_memory_for_the_gradient_is_written_to() -> None:
    own = problem(Mixed)
    own.data(SOURCE)
    passes, theta = own.passes(), torch.ones(1, own.layout.size) / 4
    x, t = cases(theta.dtype)
    found = [torch.zeros_like(theta) for _ in range(3)]
    for out in found:
        passes.gradient(theta, x, t, out)
    assert found[0].any()
    assert all(torch.equal(out, found[0]) for out in found)


@pytest.mark.parametrize("rows", [1, 2])
def test_rows_in_a_fleet_are_as_a_row_alone(rows: int) -> None:
    own = problem(Mixed)
    own.data(SOURCE)
    theta = torch.randn(rows, own.layout.size, generator=torch.Generator().manual_seed(5)) / 3
    x, t = cases(theta.dtype)
    out, alone = torch.zeros_like(theta), torch.zeros(1, own.layout.size)
    own.passes().gradient(theta, x, t, out)
    own.passes().gradient(theta[-1:], x, t, alone)
    assert torch.equal(out[-1:], alone)
