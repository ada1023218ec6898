"""What a PyTorch user writes computes what our recurrent passes compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.harness.training.batches import Batches
from bench.harness.training.cases import DeviceData
from bench.models.problem import DataSource
from bench.models.recurrent import SequenceProblem
from benchmarks.hessian_free.gauss_newton import ours
from benchmarks.updates import plain_rnn
from benchmarks.updates.plain_rnn import Network, half_squared_error, loop, module


@pytest.fixture(scope="module")
def problem() -> SequenceProblem:
    return SequenceProblem("add", "quick", T=20)


@pytest.fixture
def theta(problem: SequenceProblem) -> Tensor:
    return problem.initialize(np.random.default_rng(1))[None]


@pytest.fixture
def cases(problem: SequenceProblem) -> tuple[Tensor, Tensor]:
    inputs, targets = problem.task.draw(np.random.default_rng(2), 6)
    return torch.from_numpy(inputs).double(), torch.from_numpy(targets).double()


@pytest.mark.parametrize("network", [loop, module])
def test_plain_network_has_our_loss_and_gradient(
    problem: SequenceProblem, theta: Tensor, cases: tuple[Tensor, Tensor], network: Network
) -> None:
    inputs, targets = cases
    expected = torch.zeros_like(theta)
    value = problem.passes().gradient(theta, inputs[None], targets[None], expected)
    forward, named = network(problem, theta)
    loss = half_squared_error(forward(inputs), targets)
    torch.testing.assert_close(loss.detach(), value[0])
    views = problem.layout.views(expected[0])
    assert set(named) == set(views)
    gradients = torch.autograd.grad(loss, list(named.values()))
    for name, gradient in zip(named, gradients, strict=True):
        # nn.RNN has its weights the other way round.
        turned = network is module and name in ("Wx", "Wh")
        torch.testing.assert_close(gradient.t() if turned else gradient, views[name])


def test_plain_training_takes_the_sequences_of_a_trial_and_sgd_s_step(
    problem: SequenceProblem, theta: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DeviceData.from_data(problem.data(DataSource(())), torch.device("cpu"), torch.float64)
    inputs, targets = Batches(data, [0]).next(7, "gradient")
    gradient = torch.zeros_like(theta)
    problem.passes().gradient(theta, inputs, targets, gradient)
    parameters: dict[str, Tensor] = {}

    def kept(*given: Any) -> Any:
        forward, named = loop(*given)
        parameters.update(named)
        return forward, named

    monkeypatch.setattr(plain_rnn, "loop", kept)
    plain_rnn.training(problem, theta, 7, foreach=True)()
    # Nesterov as torch has it: the first step is (1 + μ) ε ∇f.
    expected = problem.layout.views((theta - 1.9 * 0.001 * gradient)[0])
    for name, parameter in parameters.items():
        torch.testing.assert_close(parameter.detach(), expected[name])


def test_both_means_give_the_same_gauss_newton_product(
    problem: SequenceProblem, theta: Tensor, cases: tuple[Tensor, Tensor]
) -> None:
    inputs, targets = (each[None] for each in cases)
    v = problem.initialize(np.random.default_rng(3))[None]
    by_hand, cached = (each()() for each in ours(problem, theta, inputs, targets, v).values())
    assert isinstance(by_hand, Tensor) and bool(by_hand.any())
    torch.testing.assert_close(cached, by_hand)
