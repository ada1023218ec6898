"""How much hidden units oscillate: against a plain loop in NumPy, and where it is recorded."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.harness.training.bound_objective import OBSERVED_CASES, observe
from bench.harness.training.cases import Cases
from bench.models.recurrent import SequenceProblem

T, CASES = 20, 6


def setting(name: str, **given: object) -> tuple[SequenceProblem, Tensor, Tensor, Tensor]:
    """A problem, two rows of parameters, and cases that both see."""
    problem = SequenceProblem(name, "quick", T=T, **given)
    theta = torch.stack([problem.initialize(np.random.default_rng(seed)) for seed in (0, 1)])
    inputs, targets = problem.task.draw(np.random.default_rng(2), CASES)
    return problem, theta, *(torch.from_numpy(each).double()[None] for each in (inputs, targets))


def plain(problem: SequenceProblem, theta: Tensor, inputs: np.ndarray) -> float:
    """The mean over cases and units of a unit's deviation over steps T/2 + 1 to T."""
    w = {name: view.numpy() for name, view in problem.layout.views(theta).items()}
    found = []
    for sequence in inputs:
        h, states = w["h0"], []
        for x in sequence:
            h = np.tanh(x[: len(w["Wx"])] @ w["Wx"] + h @ w["Wh"] + w["bh"])
            states.append(h)
        found.append(np.std(states[T // 2 : T], axis=0))
    return float(np.mean(found))


@pytest.mark.parametrize("name", ["add", "mem5"])
def test_it_is_that_of_a_plain_loop(name: str) -> None:
    problem, theta, inputs, _ = setting(name)
    shown = problem.observe(problem.layout.views(theta), inputs)
    expected = [plain(problem, row, inputs[0].numpy()) for row in theta]
    assert shown.keys() == {"hidden_oscillation"}
    assert shown["hidden_oscillation"].tolist() == pytest.approx(expected, rel=1e-12)


def test_states_that_stand_still_do_not_oscillate() -> None:
    problem, theta, inputs, _ = setting("add")
    views: Mapping[str, Tensor] = problem.layout.views(theta)
    views["Wh"].zero_()
    views["Wx"].zero_()
    views["bh"].fill_(0.5)
    still = problem.observe(views, inputs)["hidden_oscillation"]
    assert still.tolist() == pytest.approx([0, 0], abs=1e-15)


def test_the_harness_asks_on_some_test_cases_and_keeps_what_is_finite() -> None:
    problem, theta, inputs, targets = setting("add")
    many = inputs.repeat(1, OBSERVED_CASES, 1, 1)
    # What comes after the first hundred is not looked at.
    many[:, OBSERVED_CASES:] = torch.nan
    theta[1] = torch.nan
    cases = Cases(many, targets.repeat(1, OBSERVED_CASES, 1))
    alone = observe(problem, theta[:1], cases)
    assert observe(problem, theta, cases) == [*alone, {}]
    assert list(alone[0]) == ["hidden_oscillation"]
