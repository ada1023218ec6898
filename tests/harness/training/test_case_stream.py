"""Cases drawn anew: which ones a batch holds depends on seed, stream and position alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from bench.harness.core.seeds import generator
from bench.harness.training.case_stream import BLOCK, CaseStream


def draw(rng: np.random.Generator, cases: int) -> tuple[np.ndarray, np.ndarray]:
    values = rng.random((cases, 2))
    return values, values.sum(1, keepdims=True)


def taken(sizes: list[int], seed: int = 0, stream: str = "gradient") -> np.ndarray:
    fresh = CaseStream(draw, seed, stream)
    return np.concatenate([fresh.take(size)[0] for size in sizes])


def test_sizes_do_not_matter() -> None:
    whole = taken([2 * BLOCK + 500])
    assert np.array_equal(taken([1, BLOCK - 2, 2, BLOCK, 499]), whole)
    assert len(np.unique(whole, axis=0)) == len(whole)


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [100, 2_400])
def test_ranks_that_share_a_batch_have_the_batch_between_them(ranks: int, size: int) -> None:
    """Each goes to its own part by position, and draws blocks of its own."""
    whole = CaseStream(draw, 4, "gradient")
    each = [CaseStream(draw, 4, "gradient") for _ in range(ranks)]
    cuts = [size * rank // ranks for rank in range(ranks + 1)]
    for start in range(0, 5 * size, size):
        parts = []
        for fresh, low, high in zip(each, cuts, cuts[1:], strict=False):
            fresh.position = start + low
            parts.append(fresh.take(high - low))
        inputs, targets = whole.take(size)
        assert np.array_equal(np.concatenate([part[0] for part in parts]), inputs)
        assert np.array_equal(np.concatenate([part[1] for part in parts]), targets)


def test_cases_are_those_of_the_named_streams_of_their_blocks() -> None:
    """Drawn here one block after another, without a thread."""
    blocks = [draw(generator(5, "cases", "gradient", number), BLOCK)[0] for number in range(3)]
    assert np.array_equal(taken([700] * 4, 5), np.concatenate(blocks)[:2_800])


def test_inputs_and_targets_belong_together() -> None:
    inputs, targets = CaseStream(draw, 3, "curvature").take(BLOCK + 7)
    assert np.array_equal(inputs.sum(1, keepdims=True), targets)


def test_it_goes_on_from_a_position() -> None:
    fresh = CaseStream(draw, 1, "gradient")
    fresh.take(1_234)
    assert fresh.position == 1_234
    other = CaseStream(draw, 1, "gradient")
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

    fresh = CaseStream(noted, 0, "gradient")
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
        CaseStream(broken, 0, "gradient").take(1)


def test_what_goes_wrong_ahead_is_told_when_it_is_asked_for_and_not_before() -> None:
    ahead = []

    def second_fails(rng: np.random.Generator, cases: int) -> tuple[np.ndarray, np.ndarray]:
        ahead.append(cases)
        if len(ahead) > 1:
            raise MemoryError("no room")
        return draw(rng, cases)

    fresh = CaseStream(second_fails, 0, "gradient")
    assert np.array_equal(fresh.take(BLOCK)[0], taken([BLOCK]))
    for _ in range(2):
        with pytest.raises(MemoryError, match="no room"):
            fresh.take(1)
        assert fresh.position == BLOCK


def test_nothing_is_drawn_any_more_for_who_is_gone() -> None:
    """What the thread has begun it ends; the rest would hold up others, and the program's end."""
    drawn, hold, begun = [], threading.Event(), threading.Event()

    def slowly(rng: np.random.Generator, cases: int) -> tuple[np.ndarray, np.ndarray]:
        drawn.append(cases)
        if len(drawn) == 6:
            begun.set()
            assert hold.wait(60)
        return draw(rng, cases)

    fresh = CaseStream(slowly, 0, "gradient")
    fresh.take(5 * BLOCK)
    assert begun.wait(60)
    del fresh
    hold.set()
    CaseStream(draw, 0, "gradient").take(1)
    assert len(drawn) == 6


def test_rows_side_by_side_are_as_alone() -> None:
    rows = [CaseStream(draw, seed, "gradient") for seed in range(3)]
    got = [[row.take(700)[0] for row in rows] for _ in range(4)]
    for seed, parts in enumerate(zip(*got, strict=True)):
        assert np.array_equal(np.concatenate(parts), taken([2_800], seed))
