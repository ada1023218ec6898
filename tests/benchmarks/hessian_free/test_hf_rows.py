"""What lockstep wastes, and the bound that follows."""

from __future__ import annotations

import pytest

from bench.models.deep_autoencoders import curves
from benchmarks.figures import Figure, figure
from benchmarks.hessian_free.hf_rows import sentence, waste


def test_every_iteration_lasts_as_long_as_its_longest_row() -> None:
    # Σ max = 20 + 20, Σ mean = 15 + 20.
    assert waste([[10, 20], [20, 20]], 2) == pytest.approx(40 / 35)
    assert waste([[7, 9, 3]] * 4, 4) == 1.0


def test_runs_are_taken_in_groups_up_to_their_shortest() -> None:
    steps = [[10, 99], [30], [5, 5], [5, 15], [1000]]
    # The fifth run has no group; the first group has one iteration in common.
    assert waste(steps, 2) == pytest.approx((30 + 5 + 15) / (20 + 5 + 10))


def product(cost: float, threads: int = 1) -> Figure:
    made = figure(
        "curves/quick, hf's product, 167 cases",
        ("K = 2 as one program, a trial", [cost]),
        ("one by one (K = 1)", [1.0]),
    )
    return Figure(**{**vars(made), "threads": threads})


@pytest.mark.parametrize(
    ("cost", "said"), [(0.5, "1.75 times as fast: worth"), (0.7, "1.25 times as fast: not worth")]
)
def test_the_bound_is_of_the_passes_on_one_thread_and_of_lockstep(cost: float, said: str) -> None:
    steps = [[10, 20], [20, 20]]
    text = sentence(curves("quick"), 2, steps, [product(cost), product(0.01, threads=2)])
    assert "2 iterations of 2 runs that is 1.14 times" in text
    assert said in text and "(asked for: 1.3)" in text
