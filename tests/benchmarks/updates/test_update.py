"""An update, whole and alone, is held against what the goals name; rows against one by one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from benchmarks.ratios import Timed
from benchmarks.updates import rows, update

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call every candidate once; each is said to take as many seconds as it is called."""

    def timed(
        candidates: Mapping[str, Timed], rounds: int, device: torch.device
    ) -> dict[str, list[float]]:
        for candidate in candidates.values():
            if candidate.before is not None:
                candidate.before()
            candidate.call()
        return {name: [float(i + 1)] for i, name in enumerate(candidates)}

    monkeypatch.setattr(update, "interleaved", timed)
    monkeypatch.setattr(rows, "interleaved", timed)


def test_an_update_is_held_against_plain_loops_and_the_step_against_sgd_s() -> None:
    figures = update.measure(True, CPU).figures
    assert [(each.case, each.against, each.goal) for each in figures] == [
        ("curves/quick, B = 200", "plain loop, SGD(foreach=True)", 0.92),
        ("curves/quick, B = 200", "plain loop, SGD(fused=True)", None),
        ("add/quick, T = 20, B = 100", "plain loop over time, SGD(foreach=True)", 0.75),
        ("add/quick, T = 20, B = 100", "plain loop over time, SGD(fused=True)", None),
        ("87,110 parameters, between gradients", "SGD(foreach=True).step()", None),
        ("87,110 parameters, between gradients", "SGD(fused=True).step()", 0.6),
        ("87,110 parameters, over and over", "SGD(foreach=True).step()", None),
        ("87,110 parameters, over and over", "SGD(fused=True).step()", 0.6),
    ]
    assert {each.ratio["median"] for each in figures} == {1 / 2, 1 / 3}


def test_the_cost_of_a_trial_is_that_of_the_fleet_divided_by_its_rows() -> None:
    figures = rows.measure(True, CPU).figures
    first, gone, recurrent = figures[:4], figures[8], figures[9:]
    assert [each.measured for each in first] == [
        "K = 4 as one fleet, a seed each, a trial",
        "K = 4 as one fleet, one seed, a trial",
        "K = 16 as one fleet, a seed each, a trial",
        "K = 16 as one fleet, one seed, a trial",
    ]
    assert [each.ratio["median"] for each in first] == [2 / 4, 3 / 4, 4 / 16, 5 / 16]
    assert gone.measured == "K = 16, 8 of them diverged, an update"
    assert gone.against == "K = 8, an update" and gone.ratio["median"] == 1 / 2
    assert {each.case for each in recurrent} == {"add/quick, T = 20, B = 4"}
    assert [each.goal for each in recurrent] == [None, None, rows.GOAL, rows.GOAL]


def test_half_of_the_rows_have_diverged_and_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fleets = []
    made = rows._fleet
    monkeypatch.setattr(rows, "_fleet", lambda *given: fleets.append(made(*given)) or fleets[-1])
    problem, data = rows.load("quick", CPU)
    rows._diverged(problem, data, 10, 3)
    whole, left = fleets
    finite = whole.theta.isfinite().all(1)
    assert finite.tolist() == [True] * 8 + [False] * 8
    assert left.theta.isfinite().all() and len(left.theta) == 8
    torch.testing.assert_close(whole.theta[:8], left.theta)
