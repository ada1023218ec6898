"""Ranks that are processes: what they exchange, and how they end when one of them fails."""

import math
import re
import signal
import time

import pytest
import torch

from bench.harness.core.errors import Usage
from bench.harness.distributed.process_group import BROADCAST_BYTES, Membership
from tests.harness.ranked import end, start

SOON = 30
"""Seconds in which ranks end on a busy machine; the deadline of those that wait is 60."""
HANGS = 10
"""A short deadline; ranks that start on a busy machine find each other within it."""


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_exchanges(size, tmp_path):
    processes = start(size, tmp_path, "exchanged")
    found = end(processes, tmp_path)
    assert [process.returncode for process in processes] == [0] * size
    assert [(tmp_path / f"{rank}.err").read_text() for rank in range(size)] == [""] * size
    assert [each["place"] for each in found] == [(rank, size) for rank in range(size)]
    one = sum(torch.full((2, 3), rank + 0.1) for rank in range(size))
    two = sum(torch.arange(4, dtype=torch.float64) * 10.0**rank / 3 for rank in range(size))
    for each in found:
        for mine, first, expected in zip(each["sums"], found[0]["sums"], (one, two), strict=True):
            assert mine.equal(first)
            torch.testing.assert_close(mine, expected)
        assert each["any"] == [True, False, True]
        assert each["first"] == {"rank": 0, "names": ["a", None]}
        assert each["bytes"] == b"\x07" * (BROADCAST_BYTES + 3)
    parts = [each["part"] for each in found]
    assert parts[0].startswith("slice(0, ")
    assert parts[-1].endswith(", 7, None)")


def test_ranks_that_have_parted_all_say_so(tmp_path):
    processes = start(2, tmp_path, "parted")
    found = end(processes, tmp_path)
    assert found[0] == found[1]
    assert found[0].startswith(
        "Infrastructure: The ranks disagree about the loss: rank 0 has 0.25; rank 1 has "
        "0.25000000000000006. "
    )
    assert [process.returncode for process in processes] == [4, 4]


def going(folder, deadline=60, then="goes on", size=2, updates=20):
    """Ranks that exchange on and on, all of which have made some updates."""
    processes = start(size, folder, "on_and_on", updates, str(folder / then), deadline=deadline)
    marks = [folder / f"{then}.{rank}" for rank in range(size)]
    limit = time.monotonic() + 120
    while not all(mark.exists() for mark in marks) and time.monotonic() < limit:
        time.sleep(0.02)
    if not all(mark.exists() for mark in marks):
        raise AssertionError(end(processes, folder))
    return processes


def survivors(processes, folder, dead):
    """What the others say, and how long they took."""
    began = time.monotonic()
    found = end(processes, folder, dead)
    seconds = time.monotonic() - began
    others = [rank for rank in range(len(processes)) if rank != dead]
    assert [processes[rank].returncode for rank in others] == [4] * len(others)
    return [found[rank] for rank in others], seconds


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_where_a_rank_is_killed_the_others_end_at_once_and_name_it(size, tmp_path):
    processes = going(tmp_path, size=size)
    processes[1].send_signal(signal.SIGKILL)
    said, seconds = survivors(processes, tmp_path, dead=1)
    assert seconds < SOON
    for rank, each in zip((0, 2), said, strict=False):
        assert re.fullmatch(
            rf"Infrastructure: Rank {rank} lost the connection to the other ranks\. "
            rf"Rank 1 \(\S+:{processes[1].pid}\) has died: its last sign of life came \d+ s "
            r"ago, after \d+ updates; (rank 0 waits|ranks 0, 2 wait) at update \d+\. "
            r"All results up to now are kept\.",
            each,
        )


@pytest.mark.slow
def test_where_rank_0_is_killed_the_other_ends_at_once_and_names_it(tmp_path):
    processes = going(tmp_path)
    processes[0].send_signal(signal.SIGKILL)
    (said,), seconds = survivors(processes, tmp_path, dead=0)
    assert seconds < SOON
    assert said.startswith(
        "Infrastructure: Rank 1 lost the connection to the other ranks. Rank 0 ("
    )
    assert f":{processes[0].pid}), or the launcher that started it, does not answer; " in said


@pytest.mark.slow
def test_an_error_of_one_rank_ends_the_others(tmp_path):
    processes = going(tmp_path, then="raises")
    assert processes[1].wait(timeout=120) == 1
    (said,), seconds = survivors(processes, tmp_path, dead=1)
    assert seconds < SOON
    assert f":{processes[1].pid}) has died: its last sign of life came " in said


@pytest.mark.slow
def test_a_rank_that_is_stopped_is_named_by_the_other(tmp_path):
    processes = going(tmp_path, deadline=HANGS)
    processes[1].send_signal(signal.SIGSTOP)
    (said,), seconds = survivors(processes, tmp_path, dead=1)
    assert HANGS - 1 < seconds < SOON
    found = re.fullmatch(
        rf"hangs: Rank 1 \(\S+:{processes[1].pid}\) is behind: its last sign of life came "
        rf"(\d+) s ago, after (\d+) updates; rank 0 waits at update (\d+)\. "
        rf"No sign of life for {HANGS} s ends the run; BENCH_DEADLINE sets another limit\.",
        said,
    )
    assert found
    ago, made, at = map(int, found.groups())
    assert made < at
    assert HANGS <= ago <= math.ceil(seconds) + 1


@pytest.mark.slow
def test_rank_0_that_is_stopped_is_named_by_the_other(tmp_path):
    processes = going(tmp_path, deadline=HANGS)
    processes[0].send_signal(signal.SIGSTOP)
    (said,), seconds = survivors(processes, tmp_path, dead=0)
    assert seconds < SOON
    assert said.startswith("hangs: Rank 0 (")
    assert f":{processes[0].pid}), or the launcher that started it, does not answer; " in said


@pytest.mark.slow
def test_a_rank_whose_training_hangs_says_so_itself_and_so_do_the_others(tmp_path):
    processes = going(tmp_path, deadline=HANGS, then="sleeps")
    found = end(processes, tmp_path)
    assert [process.returncode for process in processes] == [4, 4]
    assert found[0] == found[1]
    assert found[0].startswith("hangs: Rank 1 (")
    assert ") is behind: its last sign of life came " in found[0]
    assert " s ago, after 20 updates; " in found[0]
    assert "; rank 0 waits at update 21. " in found[0]


def test_a_rank_that_is_missing_is_not_waited_for_without_end(tmp_path):
    processes = start(2, tmp_path, "exchanged", deadline=2)
    processes[1].kill()
    (said,), _ = survivors(processes, tmp_path, dead=1)
    assert said.startswith("Infrastructure: Rank 0 did not reach the other ranks within 2 s, ")


@pytest.mark.parametrize("wrong", [{"RANK": None}, {"WORLD_SIZE": "two"}, {"LOCAL_RANK": ""}])
def test_a_place_that_is_not_given_is_asked_for(wrong, monkeypatch):
    for name, value in {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert Membership.from_environment() == Membership(3, 1, 4)
    for name, value in wrong.items():
        monkeypatch.delenv(name)
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(Usage, match="torchrun sets RANK, LOCAL_RANK, WORLD_SIZE to whole numbers"):
        Membership.from_environment()
