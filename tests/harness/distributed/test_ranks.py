"""Parts of a batch, a process that is alone, and ranks that have parted."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.check.thread_ranks import run_on_ranks
from bench.harness.core.errors import Infrastructure
from bench.harness.distributed.ranks import SINGLE_PROCESS, part_of, require_agreement


@given(cases=st.integers(0, 10**6), size=st.integers(1, 70))
def test_parts_are_all_cases_in_order_and_differ_by_one_at_most(cases, size):
    parts = [part_of(cases, rank, size) for rank in range(size)]
    assert parts[0].start == 0
    assert parts[-1].stop == cases
    assert all(a.stop == b.start for a, b in zip(parts, parts[1:], strict=False))
    sizes = [part.stop - part.start for part in parts]
    assert 0 <= min(sizes) <= max(sizes) <= min(sizes) + 1


def test_a_process_alone_is_asked_and_changes_nothing():
    tensor, value = torch.tensor([1.0, math.nan]), object()
    before = tensor.clone()
    SINGLE_PROCESS.all_reduce(tensor)
    SINGLE_PROCESS.check_agreement("nothing", [1.0])
    SINGLE_PROCESS.report_alive(3)
    assert tensor.equal(before) or tensor.isnan().equal(before.isnan())
    assert tensor[0] == 1
    assert SINGLE_PROCESS.any(True, False) == [True, False]
    assert SINGLE_PROCESS.any() == []
    assert SINGLE_PROCESS.broadcast(value) is value
    assert SINGLE_PROCESS.part(7) == slice(0, 7)
    assert (SINGLE_PROCESS.rank, SINGLE_PROCESS.size) == (0, 1)


NAN = math.nan


@pytest.mark.parametrize(
    "found",
    [
        [[]] * 3,
        [[1.0, -0.0]] * 2,
        [[NAN, 1.0], [-NAN, 1.0]],
        [[math.inf]] * 4,
    ],
)
def test_equal_bits_agree(found):
    require_agreement("this", found)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([[1.0], [2.0]], "rank 0 has 1.0; rank 1 has 2.0. "),
        (
            [[1.0, 2.0], [1.0, 2.0 + 2**-51], [1.0, 2.0]],
            "ranks 0, 2 have 2.0; rank 1 has 2.0000000000000004. ",
        ),
        ([[0.0], [-0.0]], "rank 0 has 0.0; rank 1 has -0.0. "),
        ([[NAN], [0.5], [0.5]], "ranks 1, 2 have 0.5; rank 0 has nan. "),
        ([[1.0], [1.0, 2.0]], "rank 0 has 1 numbers; rank 1 has 2 numbers. "),
        ([[3.0], [1.0], [2.0], [1.0]], "ranks 1, 3 have 1.0; rank 0 has 3.0; rank 2 has 2.0. "),
    ],
)
def test_who_differs_is_named_with_what_they_have(found, told):
    with pytest.raises(Infrastructure) as error:
        require_agreement("the loss", found)
    assert str(error.value).startswith(f"The ranks disagree about the loss: {told}")


def test_ranks_in_threads_exchange_what_they_bring():
    def work(ranks):
        tensor = torch.tensor([1.0, 10.0]) * (ranks.rank + 1)
        ranks.all_reduce(tensor)
        return tensor.tolist(), ranks.any(ranks.rank == 2, False), ranks.broadcast(ranks.rank)

    assert run_on_ranks(3, work) == [([6.0, 60.0], [True, False], 0)] * 3


def test_what_a_thread_raises_ends_all_and_is_what_is_raised():
    def work(ranks):
        if ranks.rank == 1:
            raise LookupError("mine")
        ranks.any(True)

    with pytest.raises(LookupError, match="mine"):
        run_on_ranks(3, work)
