"""Cases drawn anew: which ones a batch holds depends on seed, stream and position alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from harness.fresh import BLOCK, Fresh


def draw(rng: np.random.Generator, cases: int) -> tuple[np.ndarray, np.ndarray]:
    values = rng.random((cases, 2))
    return values, values.sum(1, keepdims=True)


def taken(sizes: list[int], seed: int = 0, stream: str = "gradient") -> np.ndarray:
    fresh = Fresh(draw, seed, stream)
    return np.concatenate([fresh.take(size)[0] for size in sizes])


def test_sizes_do_not_matter() -> None:
    whole = taken([2 * BLOCK + 500])
    assert np.array_equal(taken([1, BLOCK - 2, 2, BLOCK, 499]), whole)
    assert len(np.unique(whole, axis=0)) == len(whole)


def test_inputs_and_targets_belong_together() -> None:
    inputs, targets = Fresh(draw, 3, "curvature").take(BLOCK + 7)
    assert np.array_equal(inputs.sum(1, keepdims=True), targets)


def test_it_goes_on_from_a_position() -> None:
    fresh = Fresh(draw, 1, "gradient")
    fresh.take(1_234)
    assert fresh.position == 1_234
    other = Fresh(draw, 1, "gradient")
    other.position = 1_234
    assert np.array_equal(other.take(900)[0], fresh.take(900)[0])


@pytest.mark.parametrize("other", [(1, "gradient"), (0, "curvature")])
def test_seeds_and_streams_are_their_own(other: tuple[int, str]) -> None:
    assert not np.isin(taken([100], *other), taken([100])).any()


def test_the_next_block_is_drawn_in_the_background() -> None:
    """Before anybody asks for it, by another thread, and only once."""
    drawn, threads, again = [], set(), threading.Event()

    def noted(rng: np.random.Generator, cases: int) -> tuple[np.ndarray, np.ndarray]:
        threads.add(threading.get_ident())
        drawn.append(cases)
        if len(drawn) == 2:
            again.set()
        return draw(rng, cases)

    fresh = Fresh(noted, 0, "gradient")
    first = fresh.take(10)[0]
    assert again.wait(60)
    assert threading.get_ident() not in threads
    rest = fresh.take(BLOCK)[0]
    assert np.array_equal(np.concatenate([first, rest]), taken([BLOCK + 10]))
    fresh.take(BLOCK - 10)
    assert len(drawn) <= 4


def test_what_goes_wrong_in_drawing_is_told_to_who_takes() -> None:
    def broken(rng: np.random.Generator, cases: int) -> tuple[np.ndarray, np.ndarray]:
        raise ValueError("no such cases")

    with pytest.raises(ValueError, match="no such cases"):
        Fresh(broken, 0, "gradient").take(1)


def test_rows_side_by_side_are_as_alone() -> None:
    rows = [Fresh(draw, seed, "gradient") for seed in range(3)]
    got = [[row.take(700)[0] for row in rows] for _ in range(4)]
    for seed, parts in enumerate(zip(*got, strict=True)):
        assert np.array_equal(np.concatenate(parts), taken([2_800], seed))
