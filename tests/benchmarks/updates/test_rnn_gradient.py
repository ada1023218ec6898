"""What is timed is one gradient, whoever computes it, and K rows are K gradients."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from bench.models.recurrent import SequenceProblem
from benchmarks.ratios import Timed
from benchmarks.updates import rnn_gradient
from benchmarks.updates.plain_rnn import LOOP, MODULE
from benchmarks.updates.rnn_gradient import ONE, ROWS, TOGETHER, calls, measure

CPU = torch.device("cpu")


def test_every_means_computes_the_same_gradient() -> None:
    problem = SequenceProblem("add", "quick", T=20)
    found = {name: call() for name, call in calls(problem, 5, CPU).items()}
    by_hand, together = found.pop(ONE), found.pop(TOGETHER)
    assert isinstance(by_hand, Tensor) and isinstance(together, Tensor)
    assert together.shape == (ROWS, problem.layout.size)
    torch.testing.assert_close(together[:1], by_hand)
    assert len(together.unique(dim=0)) == ROWS
    ours = problem.layout.views(by_hand[0])
    assert found.keys() == {LOOP, MODULE}
    for name, order in ((LOOP, list(ours)), (MODULE, ["Wx", "Wh", "bh", "h0", "Wo", "bo"])):
        for key, theirs in zip(order, found[name], strict=True):
            turned = name == MODULE and key in ("Wx", "Wh")
            torch.testing.assert_close(theirs.t() if turned else theirs, ours[key])


def test_k_rows_are_told_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the plain loop and nn.RNN, whose ratios have the goal and none."""
    seconds = {ONE: [2.0], LOOP: [8.0], MODULE: [4.0], TOGETHER: [16.0]}

    def timed(candidates: Mapping[str, Timed], rounds: int, device: torch.device) -> object:
        assert candidates.keys() == seconds.keys()
        return seconds

    monkeypatch.setattr(rnn_gradient, "interleaved", timed)
    figures = measure(True, CPU).figures
    assert [each.case for each in figures[::3]] == [
        "add/quick, T = 20, B = 100",
        "add/quick, T = 20, B = 4",
    ]
    for three in (figures[:3], figures[3:]):
        assert [each.against for each in three] == [LOOP, MODULE, ONE]
        assert [each.ratio["median"] for each in three] == [0.25, 0.5, 0.5]
        assert [each.goal for each in three] == [0.8, None, None]
