"""Ranks that are threads: they meet, and none waits for one that has ended."""

import pytest
import torch

from bench.harness.check.laws import LawViolation
from bench.harness.check.thread_ranks import run_on_ranks


def test_ranks_add_up_in_their_order():
    def work(ranks):
        mine = torch.tensor([float(ranks.rank + 1)])
        ranks.all_reduce(mine)
        return ranks.rank, mine.item()

    assert run_on_ranks(3, work) == [(0, 6.0), (1, 6.0), (2, 6.0)]


@pytest.mark.parametrize(("most", "ended"), [(1, 0), (0, 1)])
def test_a_rank_that_asks_for_more_than_another_is_told(most, ended):
    def work(ranks):
        for _ in range(2 if ranks.rank == most else 1):
            ranks.any(True)

    with pytest.raises(
        LawViolation, match=f"process {ended} has ended while process {most} makes another call"
    ):
        run_on_ranks(2, work)


def test_what_one_rank_raises_ends_the_others():
    def work(ranks):
        if ranks.rank == 1:
            raise ValueError("no")
        ranks.any(True)

    with pytest.raises(ValueError, match="^no$"):
        run_on_ranks(2, work)
