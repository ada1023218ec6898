"""Scores as they are printed: where wrong begins, what is counted, and what biases alone reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench.models.problem import DataSource
from bench.models.recurrent import SequenceProblem, biases_only
from bench.models.recurrent_tasks import KINDS


@pytest.mark.parametrize("name", ["add", "mul"])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_error_of_four_hundredths_is_not_wrong_yet(name: str, sign: int) -> None:
    """Beside a target of 0 the error is the output itself, without rounding."""
    per_case = SequenceProblem(name, "quick").metric.per_case
    errors = [0.04, math.nextafter(0.04, 1), math.nextafter(0.04, 0), 0.0, 1.0]
    z = sign * torch.tensor(errors, dtype=torch.float64)[None, :, None]
    assert per_case(z, torch.zeros_like(z)).tolist() == [[0, 1, 0, 0, 1]]


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_number_is_wrong(name: str) -> None:
    """Or a run that diverged would have solved its task."""
    problem = SequenceProblem(name, "quick")
    targets = problem.task.draw(np.random.default_rng(0), 50)[1]
    t = torch.from_numpy(targets).double()[None]
    worst = {"mem5": 5, "mem20": 10}.get(name, 1)
    assert problem.metric.per_case(torch.full_like(t, torch.nan), t).tolist() == [[worst] * 50]


@pytest.mark.parametrize(("name", "count"), [("mem5", 5), ("mem20", 10)])
def test_a_memorys_score_is_the_number_of_wrong_symbols(name: str, count: int) -> None:
    """From 0 to all of them; a blank is a wrong answer, and other steps are not scored."""
    problem = SequenceProblem(name, "quick")
    steps, outputs = problem.task.steps, problem.task.outputs
    targets = torch.zeros(1, count + 1, steps, outputs, dtype=torch.float64)
    targets[..., :-count, -1] = 1
    targets[..., -count:, 0] = 1
    z = targets.clone()
    for wrong in range(count + 1):
        for step in range(wrong):
            z[0, wrong, steps - 1 - step] = torch.eye(outputs)[-1 if step % 2 else 1]
    z[:, :, : steps - count] = 0
    z[:, :, : steps - count, 0] = 1
    assert problem.metric.per_case(z, targets).tolist() == [list(range(count + 1))]


@pytest.mark.parametrize(
    ("name", "length", "expected", "variance"),
    [
        ("add", 80, 0.846, 0.846 * 0.154),
        # The average target is itself uncertain: the share changes by 0.32 of what it is off.
        ("mul", 80, 0.889, 0.889 * 0.111 + (0.32 * 0.22) ** 2),
        # Wrong are n symbols, each with probability 1 − 1/a.
        ("mem5", 200, 2.5, 5 / 4),
        ("mem20", 80, 8.0, 10 * 0.8 * 0.2),
    ],
)
def test_what_biases_alone_reach_on_the_published_tasks(
    name: str, length: int, expected: float, variance: float
) -> None:
    """Column `biases`, on the 10,000 test sequences of the published T; four standard errors."""
    problem = SequenceProblem(name, "paper")
    data = problem.data(DataSource(()))
    assert problem.parameters == {"T": length}
    assert len(data.test_targets) == 10_000
    rounded = 0.0005
    close = 4 * (variance / 10_000) ** 0.5 + rounded
    assert biases_only(problem, data) == pytest.approx(expected, abs=close)
