"""The order of training cases: permutations, chunks in turn, one integer as its whole state."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from bench.harness.training.case_order import CaseOrder

CASES = 20


def epochs(order: CaseOrder, sizes: list[int]) -> np.ndarray:
    """Take batches of these sizes, and cut what was taken into epochs."""
    taken = np.concatenate([order.take(size) for size in sizes])
    assert len(taken) % CASES == 0
    return taken.reshape(-1, CASES)


@pytest.mark.parametrize("stream", ["gradient", "curvature"])
@pytest.mark.parametrize("sizes", [[20] * 3, [5] * 12, [7] * 20, [60], [50, 3, 27]])
def test_every_epoch_is_a_permutation_however_it_is_cut(stream: str, sizes: list[int]) -> None:
    order = CaseOrder(CASES, 0, stream)
    for epoch in epochs(order, sizes):
        assert sorted(epoch) == list(range(CASES))
    assert order.position == sum(sizes)


def test_the_cut_changes_nothing() -> None:
    whole, cut = CaseOrder(CASES, 3, "gradient"), CaseOrder(CASES, 3, "gradient")
    np.testing.assert_array_equal(epochs(whole, [60]), epochs(cut, [7, 13, 1, 39]))


def test_gradient_cases_are_shuffled_anew_every_epoch() -> None:
    shuffled = epochs(CaseOrder(CASES, 0, "gradient"), [CASES] * 5)
    assert all((one != other).any() for one, other in pairwise(shuffled))


def test_curvature_chunks_in_turn_are_the_same_each_round() -> None:
    order = CaseOrder(CASES, 0, "curvature")
    rounds = [[order.take(5).tolist() for _ in range(4)] for _ in range(3)]
    assert rounds[0] == rounds[1] == rounds[2]
    assert sorted(sum(rounds[0], [])) == list(range(CASES))
    assert sum(rounds[0], []) != list(range(CASES))


@pytest.mark.parametrize("stream", ["gradient", "curvature"])
@pytest.mark.parametrize("position", [0, 3, 19, 20, 21, 67])
def test_the_position_alone_restores_it(stream: str, position: int) -> None:
    straight, resumed = CaseOrder(CASES, 5, stream), CaseOrder(CASES, 5, stream)
    for _ in range(position):
        straight.take(1)
    resumed.position = straight.position
    np.testing.assert_array_equal(straight.take(33), resumed.take(33))
    # Going back in the same object works as well.
    straight.position = resumed.position = 0
    np.testing.assert_array_equal(straight.take(9), CaseOrder(CASES, 5, stream).take(9))
    np.testing.assert_array_equal(resumed.take(9), CaseOrder(CASES, 5, stream).take(9))


def test_seeds_and_streams_have_orders_of_their_own() -> None:
    names = [(seed, stream) for seed in range(4) for stream in ("gradient", "curvature")]
    assert len({tuple(CaseOrder(CASES, *name).take(CASES)) for name in names}) == len(names)
    np.testing.assert_array_equal(
        CaseOrder(CASES, 0, "gradient").take(50), CaseOrder(CASES, 0, "gradient").take(50)
    )


def test_one_stream_does_not_shift_another() -> None:
    alone, beside = CaseOrder(CASES, 1, "gradient"), CaseOrder(CASES, 1, "gradient")
    other = CaseOrder(CASES, 1, "curvature")
    for _ in range(9):
        other.take(4)
        np.testing.assert_array_equal(alone.take(6), beside.take(6))


def test_every_case_comes_first_about_equally_often() -> None:
    first = [CaseOrder(4, seed, "gradient").take(1)[0] for seed in range(400)]
    assert np.bincount(first, minlength=4).min() > 70
