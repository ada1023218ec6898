"""Inputs that are tokens stay whole numbers, and a network of them is trained as any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import optim
from bench.harness.core.records import Measurement
from bench.harness.core.spec import Budget
from bench.harness.training.batches import Batches
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet, Progress
from bench.models.case_checks import check_cases
from bench.models.errors import ProblemError
from bench.models.from_module import ModuleProblem
from bench.models.losses import SoftmaxCrossEntropy, Stepped
from bench.models.metrics import wrong_symbols
from bench.models.problem import Data, DataSource, digest_of, input_tensor, to_tensor
from bench.models.problem_checks import TrialRun

WORDS, STEPS, CASES = 7, 5, 24
LOSS = Stepped(SoftmaxCrossEntropy())
SOURCE = DataSource(())
CPU = torch.device("cpu")


class NoObserver:
    """Hears nothing and stops nothing."""

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        pass

    def on_progress(self, progress: Progress) -> None:
        pass

    def should_stop(self) -> bool:
        return False


class Chain(nn.Module):
    """The next word from each word and its place, with a head that is tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 4)
        self.place = nn.Parameter(torch.randn(STEPS, 4))
        self.layer = nn.Linear(4, 4)
        self.head = nn.Linear(4, WORDS)
        self.head.weight = self.table.weight

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.layer(self.embedded(words) + self.place)))
        return out

    def embedded(self, words: Tensor) -> Tensor:
        out: Tensor = self.table(words)
        return out


class OneHotChain(Chain):
    """The same network for one-hot inputs, which are floating-point numbers."""

    def embedded(self, words: Tensor) -> Tensor:
        return words @ self.table.weight


def tokens(kind: type[np.generic] = np.int64) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(5).integers(0, WORDS, (CASES, STEPS + 1))
    drawn[0, 0], drawn[1, 0] = 0, WORDS - 1
    return drawn[:, :-1].astype(kind), np.eye(WORDS, dtype=np.float32)[drawn[:, 1:]]


def problem(make: Callable[[], nn.Module], x: np.ndarray, t: np.ndarray) -> ModuleProblem:
    parts = x[:16], x[16:], t[:16], t[16:]
    data = Data("words", digest_of(*parts), *parts)
    made = "own", "quick", make, LOSS, wrong_symbols(STEPS), lambda source: data
    return ModuleProblem(*made, budget=1_000, targets=(1.0,))


def everything(of: ModuleProblem) -> dict[str, Tensor]:
    """All passes of two rows on the training cases, in float64."""
    data, passes = of.data(SOURCE), of.passes()
    normal = torch.Generator().manual_seed(4)
    theta, v = torch.randn(2, 2, of.layout.size, generator=normal, dtype=torch.float64)
    x = input_tensor(data.train_inputs, torch.float64)[None]
    t = to_tensor(data.train_targets, torch.float64)[None]
    gradient, again = torch.zeros_like(theta), torch.zeros_like(theta)
    loss = passes.gradient(theta, x, t, gradient)
    return {
        "loss": loss,
        "gradient": gradient,
        "squared": passes.squared_gradient(theta, x, t),
        "Gauss–Newton": passes.curvature(theta, x, t)(v),
        "Hessian": passes.hessian(theta, x, t, again)[1](v),
        "logits": passes.logits(theta, x),
    }


@pytest.mark.parametrize("kind", [np.int64, np.int32])
def test_every_pass_is_that_of_one_hot_inputs(kind: type[np.generic]) -> None:
    x, t = tokens(kind)
    found = everything(problem(Chain, x, t))
    wanted = everything(problem(OneHotChain, np.eye(WORDS)[x], t))
    for name, each in wanted.items():
        torch.testing.assert_close(found[name], each, rtol=1e-11, atol=1e-11, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_theta_has_the_precision_and_tokens_stay_whole_numbers(dtype: torch.dtype) -> None:
    own = problem(Chain, *tokens())
    data = DeviceData.from_data(own.data(SOURCE), CPU, dtype)
    assert data.dtype == data.train.targets.dtype == dtype
    assert data.train.inputs.dtype == data.test.inputs.dtype == torch.int64
    inputs, targets = Batches(data, [0]).next(6, "minibatch")
    assert (inputs.dtype, targets.dtype) == (torch.int64, dtype)
    assert inputs.shape == (1, 6, STEPS) and targets.shape == (1, 6, STEPS, WORDS)


def test_drawn_tokens_stay_whole_numbers() -> None:
    def draw(rng: np.random.Generator, cases: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = rng.integers(0, WORDS, (cases, STEPS))
        return drawn, np.eye(WORDS, dtype=np.float32)[drawn]

    x, t = tokens()
    data = DeviceData.from_data(Data("words", "", x, x, t, t, draw=draw), CPU, torch.float32)
    inputs, targets = Batches(data, [0, 1]).next(8, "minibatch")
    assert (inputs.dtype, targets.dtype) == (torch.int64, torch.float32)
    assert torch.equal(targets.argmax(-1), inputs)


def test_it_is_trained_as_a_plain_loop_trains_it() -> None:
    own = problem(Chain, *tokens())
    data = DeviceData.from_data(own.data(SOURCE), CPU, torch.float64)
    method = optim.resolve("torch.optim.SGD[batch=16,lr=0.1,momentum=0.9]")
    fleet = Fleet(own, data, method, [0], Budget("updates", 12), 2)
    module = Chain().double()
    with torch.no_grad():
        views = own.layout.views(fleet.theta[0])
        for name, each in module.named_parameters():
            each.copy_(views[name])
    (outcome,) = fleet.run(NoObserver())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    x, t = data.train.inputs[0], data.train.targets[0]
    for _ in range(12):
        optimizer.zero_grad()
        (nn.functional.cross_entropy(module(x).flatten(0, 1), t.flatten(0, 1)) * STEPS).backward()
        optimizer.step()
    views = own.layout.views(outcome.theta)
    for name, each in module.named_parameters():
        torch.testing.assert_close(views[name], each.detach(), rtol=1e-12, atol=1e-12)


def test_what_is_no_token_of_the_network_is_told() -> None:
    x, t = tokens()
    for case in (13, 20):  # A training and a test case.
        beyond = x.copy()
        beyond[case, 2] = WORDS
        name = "case 13 of train_inputs" if case == 13 else "case 4 of test_inputs"
        with pytest.raises(ProblemError, match=f"{name}, in which a token is {WORDS}"):
            problem(Chain, beyond, t).data(SOURCE)
    below = x.copy()
    below[9, 1] = -1
    with pytest.raises(ProblemError, match="case 9 of train_inputs, in which a token is -1"):
        problem(Chain, below, t).data(SOURCE)


def test_training_test_and_drawn_cases_are_alike() -> None:
    x, t = tokens()
    parts = x[:16], x[16:].astype(np.float32), t[:16], t[16:]
    with pytest.raises(ProblemError, match="type int64 and test_inputs of type float32"):
        check_cases(Data("words", "", *parts), LOSS)
    own = problem(Chain, x, t)
    data = own.data(SOURCE)
    drawn = replace(data, draw=lambda rng, n: (x[:n].astype(np.float32), t[:n]))
    with pytest.raises(ProblemError, match="draw.* of type float32, and train_inputs are of type"):
        TrialRun(own, drawn)


def numbers() -> nn.Module:
    return nn.Sequential(nn.Linear(STEPS, STEPS * WORDS), nn.Unflatten(1, (STEPS, WORDS)))


def test_the_type_of_the_array_decides_and_the_message_says_so() -> None:
    x, t = tokens()
    with pytest.raises(ProblemError, match=r"uint8 are handed over as floating.*astype\('int64'\)"):
        problem(Chain, x.astype(np.uint8), t).data(SOURCE)
    with pytest.raises(ProblemError, match=r"int64 are tokens and stay .*astype\('float32'\)"):
        problem(numbers, x, t).data(SOURCE)
    problem(numbers, x.astype(np.uint8), t).data(SOURCE)
