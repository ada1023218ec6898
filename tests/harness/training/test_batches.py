"""Batches: who shares them, and that what is foreseen is what would have been taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.harness.training.batches import Batches, group_seeds
from bench.harness.training.cases import DeviceData
from bench.optim.objective import FORESEEN
from tests.models.tiny import Tiny

CPU = torch.device("cpu")
SIZE = 7


def data(fresh: bool, dtype: torch.dtype = torch.float64) -> DeviceData:
    """Images that are their own targets; or cases drawn anew, whose target is their sum."""

    def draw(rng: np.random.Generator, cases: int) -> tuple[np.ndarray, np.ndarray]:
        values = rng.random((cases, 12), dtype=np.float32)
        return values, values.sum(1, keepdims=True)

    plain = Tiny().data()
    return DeviceData.from_data(replace(plain, draw=draw) if fresh else plain, CPU, dtype)


def taken(batches: Batches, times: int, stream: str = "gradient") -> list[tuple[Tensor, Tensor]]:
    return [batches.next(SIZE, stream) for _ in range(times)]


def same(these: list[tuple[Tensor, Tensor]], those: list[tuple[Tensor, Tensor]]) -> bool:
    return len(these) == len(those) and all(
        torch.equal(a, b)
        for one, other in zip(these, those, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    ("seeds", "groups"),
    [
        ([4], [4]),
        ([4, 4, 4], [4]),
        ([4, 4, 9, 9], [4, 9]),
        ([4, 4, 4, 4, 9, 9], [4, 4, 9]),
        ([4, 4, 9], [4, 4, 9]),
        ([4, 9, 4, 9], [4, 9, 4, 9]),
    ],
)
def test_groups(seeds: list[int], groups: list[int]) -> None:
    assert group_seeds(seeds) == groups


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_every_row_is_in_a_group_of_its_seed(seeds: list[int]) -> None:
    groups = group_seeds(seeds)
    assert len(seeds) % len(groups) == 0
    assert [groups[row * len(groups) // len(seeds)] for row in range(len(seeds))] == seeds


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("stretches", [(1, 2, 3), (FORESEEN, 5)])
def test_foreseen_batches_are_those_that_would_have_been_taken(
    fresh: bool, stretches: tuple[int, ...]
) -> None:
    asked, foreseen = Batches(data(fresh), [3, 3, 5, 5]), Batches(data(fresh), [3, 3, 5, 5])
    assert same(taken(asked, 2), taken(foreseen, 2))
    for updates in stretches:
        foreseen.prefetch(updates)
        assert same(taken(asked, updates), taken(foreseen, updates))
        assert asked.positions() == foreseen.positions()


@pytest.mark.parametrize("fresh", [False, True])
def test_what_is_foreseen_stays_in_the_same_memory(fresh: bool) -> None:
    batches = Batches(data(fresh), [0, 1])
    batches.next(SIZE, "gradient")
    batches.prefetch(3)
    places = [part.data_ptr() for part in batches._prefetched]
    batches.prefetch(2)
    assert [part.data_ptr() for part in batches._prefetched] == places


def test_targets_that_are_the_inputs_are_gathered_once() -> None:
    batches = Batches(data(fresh=False), [0, 1])
    inputs, targets = batches.next(SIZE, "gradient")
    assert targets is inputs
    batches.prefetch(1)
    inputs, targets = batches.next(SIZE, "gradient")
    assert targets is inputs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cases_drawn_anew_have_the_type_asked_for(dtype: torch.dtype) -> None:
    batches = Batches(data(fresh=True, dtype=dtype), [0])
    assert [part.dtype for part in batches.next(SIZE, "gradient")] == [dtype] * 2
    batches.prefetch(1)
    assert [part.dtype for part in batches.next(SIZE, "gradient")] == [dtype] * 2


@pytest.mark.parametrize("fresh", [False, True])
def test_other_rows_go_on_from_here(fresh: bool) -> None:
    every, last = Batches(data(fresh), [0, 0, 1, 1]), Batches(data(fresh), [1])
    taken(every, 3)
    every.prefetch(2)
    taken(every, 2)
    taken(last, 5)
    assert same(taken(every.for_seeds([1]), 3), taken(last, 3))
