import math

import pytest
import torch

from bench.optim.hessian_free.cg import Iterate
from bench.optim.hessian_free.line_search import backtrack, search


@pytest.mark.parametrize(
    ("values", "chosen", "evaluations"),
    [
        ([5, 4, 3], 2, 2),
        ([3, 4, 5], 0, 3),
        ([1, 4, 3, 4], 2, 3),
        ([5, 3, 3, 4], 1, 4),
        ([7], 0, 1),
        ([2, math.nan, math.inf], 0, 3),
        ([math.inf, 2, math.nan], 1, 3),
    ],
)
def test_backtracking(values: list[float], chosen: int, evaluations: int) -> None:
    iterates = [Iterate(i + 1, torch.tensor([[float(i)]]), 0.0) for i in range(len(values))]
    best = backtrack(iterates, lambda x: values[int(x.item())])
    assert (best.iterate.step, best.value) == (chosen + 1, values[chosen])
    assert best.evaluations == evaluations


def test_full_step_costs_no_evaluation() -> None:
    found = search(lambda rate: math.nan, start=10.0, slope=-1.0, at_one=9.98)
    assert (found.rate, found.value, found.evaluations) == (1.0, 9.98, 0)


def test_rate_is_the_first_that_descends_enough() -> None:
    # h = 10 − r + 2r²: at r = 0.8³ = 0.512 still above 10 − 0.01 r, at 0.8⁴ = 0.4096 below.
    found = search(lambda r: 10 - r + 2 * r * r, start=10.0, slope=-1.0, at_one=11.0)
    assert found.rate == pytest.approx(0.4096)
    assert found.value == 10 - found.rate + 2 * found.rate**2
    assert found.evaluations == 4


def test_sufficient_decrease_is_asked_for() -> None:
    assert search(lambda r: 0.0, start=10.0, slope=-1.0, at_one=9.99).rate == 1.0
    assert search(lambda r: 0.0, start=10.0, slope=-1.0, at_one=9.9901).rate == 0.8


@pytest.mark.parametrize("value", [10.0, 11.0, math.nan, math.inf])
def test_rejection_after_60_shrinkings(value: float) -> None:
    rates = []

    def h(rate: float) -> float:
        rates.append(rate)
        return value

    found = search(h, start=10.0, slope=-1.0, at_one=value)
    assert (found.rate, found.value, found.evaluations) == (0.0, 10.0, 60)
    assert rates == pytest.approx([0.8**i for i in range(1, 61)])


def test_a_direction_of_ascent_may_not_raise_the_loss() -> None:
    assert search(lambda r: 11.0, start=10.0, slope=100.0, at_one=10.5).rate == 0.0
    assert search(lambda r: 11.0, start=10.0, slope=100.0, at_one=9.0).rate == 1.0
