"""What ranks decide together: all of them the same, at the same update, and soon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.harness.distributed.consensus import CONSENSUS_SECONDS, Consensus, checksums
from bench.harness.distributed.ranks import SINGLE_PROCESS, part_of

T = TypeVar("T")
Answers = list[tuple[bool, bool]]
PACE = st.floats(1e-5, 1.0)


class Table:
    """Where the ranks of a test, a thread each, meet."""

    def __init__(self, size: int) -> None:
        self.meeting, self.said = Barrier(size, timeout=20), list[Any]([None] * size)
        self.meetings = 0


class Member:
    """A rank that exchanges what it has with the others in memory."""

    def __init__(self, rank: int, table: Table) -> None:
        self.rank, self.size, self._table = rank, len(table.said), table
        self.beats: list[int] = []

    def part(self, cases: int) -> slice:
        return part_of(cases, self.rank, self.size)

    def all_reduce(self, *tensors: Tensor) -> None:
        raise AssertionError("nothing is added up in a talk")

    def check_agreement(self, what: str, values: Sequence[float]) -> None:
        assert len({tuple(each) for each in self._all(values)}) == 1, what

    def any(self, *flags: bool) -> list[bool]:
        return [any(each) for each in zip(*self._all(flags), strict=True)]

    def broadcast(self, value: T) -> T:
        found: T = self._all(value)[0]
        return found

    def report_alive(self, updates: int) -> None:
        self.beats.append(updates)

    def _all(self, mine: Any) -> list[Any]:
        self._table.said[self.rank] = mine
        if self._table.meeting.wait() == 0:
            self._table.meetings += 1
        said = list(self._table.said)
        self._table.meeting.wait()
        return said


def on_ranks(size: int, work: Callable[[Member], T]) -> tuple[list[T], int]:
    """What each rank returns, and how often they met."""
    table = Table(size)
    with ThreadPoolExecutor(size) as threads:
        done = list(threads.map(work, [Member(rank, table) for rank in range(size)]))
    return done, table.meetings


def asked(
    paces: Sequence[float], stops: Sequence[int], keeps: Sequence[int], updates: range
) -> tuple[list[Answers], int]:
    """The answers of each rank at each update; from its own one on, each wants to stop or keep."""

    def work(member: Member) -> Answers:
        talks, answers = Consensus(member), Answers()
        for made, update in enumerate(updates):
            seconds = made * paces[member.rank]
            stop, keep = update >= stops[member.rank], update >= keeps[member.rank]
            answers.append(talks.decide(update, seconds, stop, keep))
            if answers[-1][0]:
                break
        assert member.beats == list(updates)[: len(answers)]
        return answers

    return on_ranks(len(paces), work)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(2, 4))
def test_all_ranks_get_the_same_answers_at_the_same_updates(data: st.DataObject, size: int) -> None:
    paces = data.draw(st.lists(PACE, min_size=size, max_size=size))
    when = st.lists(st.integers(0, 90), min_size=size, max_size=size)
    stops, keeps = data.draw(when), data.draw(when)
    answers, _ = asked(paces, stops, keeps, range(60))
    assert all(each == answers[0] for each in answers)
    for update, (stop, keep) in enumerate(answers[0]):
        assert not stop or update >= min(stops)
        assert not keep or update >= min(keeps)


@pytest.mark.parametrize("already", [0, 7_000])
@pytest.mark.parametrize("pace", [0.001, 0.03, 5.0])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_is_heard_soon(already: int, pace: float, rank: int) -> None:
    """Also by those that go on from a checkpoint, with many updates behind them."""
    at = already + 20
    stops = [at if each == rank else 10**9 for each in range(2)]
    answers, _ = asked([pace] * 2, stops, [10**9] * 2, range(already, already + 2_000))
    heard = already + len(answers[0]) - 1
    assert answers[0][-1] == answers[1][-1] == (True, False)
    assert (heard - at) * pace <= CONSENSUS_SECONDS


def test_quick_updates_are_not_held_up_by_talks() -> None:
    updates = 3_000
    _, meetings = asked([0.001] * 2, [10**9] * 2, [10**9] * 2, range(updates))
    # A talk is two exchanges; the first two are at the first two updates.
    assert meetings <= 2 * (2 + updates * 0.001 / CONSENSUS_SECONDS + 1)


def test_the_state_is_kept_at_the_update_of_a_talk() -> None:
    answers, _ = asked([1.0, 1.0, 1.0], [10**9] * 3, [10**9, 4, 10**9], range(6))
    assert answers == [[(False, False)] * 4 + [(False, True)] * 2] * 3


def test_a_process_alone_decides_at_every_update() -> None:
    talks = Consensus(SINGLE_PROCESS)
    for update in range(3):
        for flags in ((False, False), (True, False), (False, True), (True, True)):
            assert talks.decide(update, 0.0, *flags) == flags


@settings(deadline=None)
@given(st.data(), st.sampled_from([(torch.float32, 32), (torch.float64, 64)]))
def test_every_bit_of_a_row_counts(data: st.DataObject, kind: tuple[torch.dtype, int]) -> None:
    dtype, bits = kind
    rows, columns = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 40))
    seed = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    words = {32: torch.int32, 64: torch.int64}[bits]
    # All bits at random: infinities and NaN are among the numbers.
    raw = torch.randint(-(2**31), 2**31, (rows, columns), generator=seed)
    theta = (raw * 2**32 + raw.flip(1)).to(words).view(dtype)
    before = checksums(theta)
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    bit = data.draw(st.integers(0, bits - 1))
    one = 1 << bit if bit < bits - 1 else -(1 << bit)
    theta.view(words)[row, column] ^= one
    after = checksums(theta)
    assert [k for k in range(rows) if after[k] != before[k]] == [row]
    assert all(value == int(value) and 0 <= value < 2**53 for value in before + after)
