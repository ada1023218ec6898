"""`bench.problem`: modules with data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bench
from bench.models.losses import HalfSquaredError
from bench.models.problem import Metric

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
LABELS = (np.square(X).sum(1) < 1.4).astype(int)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))


def one() -> nn.Module:
    return nn.Linear(2, 1)


def made(module: Any = net, y: Any = LABELS, **given: Any) -> Any:
    return bench.problem(module, train=(X[:40], y[:40]), test=(X[40:], y[40:]), **given)


def test_class_numbers_make_a_softmax() -> None:
    problem = made()
    data = problem.data(None)
    assert problem.name == "net" and problem.loss.name.startswith("softmax")
    assert data.train_targets.shape == (40, 2) and data.train_targets.sum() == 40
    assert problem.budget == 200 * 40 and problem.targets == () and problem.log_scale
    assert problem.notes == "40 + 20 cases"


@pytest.mark.parametrize(
    ("given", "loss", "metric", "log_scale"),
    [
        ({}, "half squared", "squared_error", True),
        ({"loss": "mse"}, "half squared", "squared_error", True),
        ({"loss": "bce"}, "cross-entropy", "bce", True),
        ({"loss": "bce", "metric": "error"}, "cross-entropy", "zero_one_loss", False),
        ({"loss": HalfSquaredError()}, "half squared", "squared_error", True),
        ({"metric": Metric("own", "lower", lambda z, t: z[..., 0])}, "half squared", "own", True),
    ],
)
def test_losses_and_metrics_by_name(given, loss, metric, log_scale) -> None:
    problem = made(one, LABELS.astype(float), **given)
    assert problem.loss.name.startswith(loss)
    assert (problem.metric.name, problem.log_scale) == (metric, log_scale)
    assert problem.data(None).train_targets.shape == (40, 1)


def test_tensors_are_arrays_and_equal_data_have_equal_digests() -> None:
    as_tensors = bench.problem(
        net,
        train=(torch.tensor(X[:40]), torch.tensor(LABELS[:40])),
        test=(torch.tensor(X[40:]), torch.tensor(LABELS[40:])),
    )
    assert as_tensors.data(None).digest == made().data(None).digest
    assert made(y=1 - LABELS).data(None).digest != made().data(None).digest


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"module": nn.Linear(2, 2)}, "module is an instance"),
        ({"module": lambda: 3}, "gave a int, not an nn.Module"),
        ({"module": lambda: 1 / 0}, "raised ZeroDivisionError"),
        ({"loss": "hinge"}, "there is no loss 'hinge'. There are: mse, cross_entropy, bce"),
        ({"loss": HalfSquaredError}, "made with ()"),
        ({"loss": "mse", "metric": "error"}, "metric 'error' does not go with this loss"),
        ({"y": LABELS - 1}, "class numbers are whole numbers from 0 on"),
        ({"y": np.array(["a"] * 60)}, "the train targets are of type"),
        ({"y": np.full(60, np.nan)}, "the train targets are not all finite"),
    ],
)
def test_what_cannot_be_a_problem(given: dict[str, Any], said: str) -> None:
    with pytest.raises(bench.Usage) as error:
        made(**given)
    assert said in str(error.value)


def test_pairs_of_equal_length() -> None:
    with pytest.raises(bench.Usage, match="train is a pair"):
        bench.problem(net, train=X, test=(X, LABELS))
    with pytest.raises(bench.Usage, match="test has 60 inputs and 3 targets"):
        bench.problem(net, train=(X, LABELS), test=(X, LABELS[:3]))


def test_a_module_that_its_data_do_not_fit(compare) -> None:
    with pytest.raises(bench.Usage, match="returns .* but the targets have"):
        compare("nag", made(one), budget=None)


def test_it_is_compared_and_reused_while_module_and_data_are_the_same(compare) -> None:
    def again(module: Any = net, **given: Any) -> list[bool]:
        found = compare("nag[batch=20]", made(module, **given), budget="gradients=400")
        assert found.summary["protocol"]["data"] == "net (arrays)"
        reused: list[bool] = found.trials.reused.tolist()
        return reused

    def other() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 2))

    other.__name__ = "net"
    assert again() == [False, False] and again() == [True, True]
    assert again(other) == [False, False]
    assert again(y=1 - LABELS) == [False, False]
    assert again(metric="error") == [False, False]


def test_its_laws_hold() -> None:
    found = bench.check(made(targets=(0.3,)))
    assert found.kind == "problem" and found.ok, str(found)


def test_values_beyond_float32_are_a_fault_of_the_data(compare) -> None:
    far = X * 1e300, LABELS
    with pytest.raises(bench.Usage, match="train_inputs has values up to .* more than float32 can"):
        compare("nag", bench.problem(net, train=far, test=far), budget=None)
