"""Run by test_update_cuda.py in a process of its own, under NUMBA_ENABLE_CUDASIM=1."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.optim import resolve
from bench.optim.hyperparameters import Unavailable
from bench.optim.momentum import update_cuda
from bench.optim.momentum.update_cuda import EACH, SIMULATED_BLOCK, fused_update
from tests.optim.momentum.one_update import PADDING, assert_agrees_with_torch, copied, drawn
from tests.optim.momentum.test_methods import Row, apart, fleet, reference_row, train

TILE = EACH * SIMULATED_BLOCK
STEPS, PERIOD, FINAL = 40, 5, 10
MIXED: tuple[Row, ...] = (
    ("sgd", {"lr": 0.02}),
    ("cm", {"lr": 0.003, "mu_max": 0.9, "period": PERIOD, "final": FINAL}),
    ("nag", {"lr": 0.01, "mu_max": 0.8, "period": PERIOD, "final": FINAL, "l2": 0.1}),
    ("nag", {"lr": 0.005, "mu_max": 0.99, "period": PERIOD, "final": FINAL}),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rows", "width"), [(1, 1), (1, TILE), (3, TILE - 1), (2, 3 * TILE + SIMULATED_BLOCK + 1)]
)
def test_an_update_is_that_of_torch(rows: int, width: int, dtype: torch.dtype) -> None:
    assert_agrees_with_torch(fused_update, drawn(rows, width, dtype))


def test_more_rows_than_a_grid_may_have_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_cuda, "MOST_ROWS", 2)
    assert_agrees_with_torch(fused_update, drawn(5, 20, torch.float32))


def test_padding_stays_zero() -> None:
    tensors = drawn(3, TILE + 16, torch.float32)
    for _ in range(3):
        fused_update(*tensors)
    for each in tensors[:2]:
        assert torch.equal(each[:, -PADDING:], torch.zeros(3, PADDING))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("spoilt", [0, 1, 2])
def test_what_is_not_finite_stays_in_its_place(spoilt: int, bad: float) -> None:
    """`spoilt`: y, v or g."""
    tensors = drawn(3, 20, torch.float32)
    sound, diverged = copied(tensors), copied(tensors)
    diverged[spoilt][1, 4] = bad
    fused_update(*sound)
    fused_update(*diverged)
    for made, other in zip(diverged[:2], sound[:2], strict=True):
        same = made == other
        assert same[[0, 2]].all()
        assert same[1].sum() >= 19
    assert not diverged[0][1, 4].isfinite()


def test_a_strided_tensor_is_not_taken_for_a_whole_one() -> None:
    tensors = drawn(2, 20, torch.float32)
    tensors[2] = torch.cat([tensors[2]] * 2, 1)[:, :20]
    with pytest.raises(AssertionError):
        fused_update(*tensors)


def scheduled(kind: str, given: dict[str, float]) -> Tensor:
    """A row of MIXED by optim/momentum/reference.py: μ by Eq. 5, and low at the end."""
    mu_max = given.get("mu_max", 0.0)

    def mu(t: int) -> float:
        high = min(1 - 0.5 / (t // PERIOD + 1), mu_max)
        return min(high, 0.9) if t >= STEPS - FINAL else high

    return reference_row(kind, mu, lambda _: given["lr"], STEPS, given.get("l2", 0.0))


@pytest.mark.parametrize("rows", [MIXED, MIXED[:2]], ids=["mixed", "none looks ahead"])
def test_a_fleet_trains_as_the_reference_does(rows: tuple[Row, ...]) -> None:
    made = train(fleet(rows, "numba-cuda"), STEPS, len(rows))
    for k, (kind, given) in enumerate(rows):
        assert apart(made[:, k], scheduled(kind, given)) <= 1e-12


def test_the_backend_may_be_named_here() -> None:
    assert resolve("nag@numba-cuda").backend == "numba-cuda"
    with pytest.raises(Unavailable, match="the simulator has no GPU. Unset it, or give --device"):
        resolve("nag@numba-cuda", device="cuda")
