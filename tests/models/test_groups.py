"""Rows in groups against each row alone, for every number of groups that six rows can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.models.autodiff import AutodiffPasses
from bench.models.groups import affine_into, by_group, for_rows, over_groups, product_into
from bench.models.losses import (
    HalfSquaredError,
    LogisticCrossEntropy,
    MatchingLoss,
    SteppedSoftmaxCrossEntropy,
)
from bench.models.passes import Passes
from bench.models.recurrent import SequenceProblem
from bench.models.rnn import RecurrentNetwork, RecurrentPasses
from tests.models.tiny import Tiny, padding

ROWS, CASES = 6, 4
STEPS = 5
GROUPS = [1, 2, 3, 6]
WITHIN = 1e-12


def draw(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def same_numbers_in_every_test() -> None:
    torch.manual_seed(8)


@dataclass
class Setting:
    """Passes, θ and v of six rows, cases of six groups; structural damping where it is defined."""

    passes: Passes
    theta: Tensor
    v: Tensor
    inputs: Tensor
    targets: Tensor
    structural: float | None = None

    def everything(self, rows: slice, groups: slice) -> dict[str, Tensor]:
        """What passes compute for some rows in some groups, each as a tensor of its own."""
        theta, v = self.theta[rows], self.v[rows]
        x = self.inputs[groups]
        # The very same tensor, as images are.
        t = x if self.targets is self.inputs else self.targets[groups]
        gradient = torch.zeros_like(theta)
        found = {
            "logits": self.passes.logits(theta, x).clone(),
            "loss": self.passes.loss(theta, x, t),
            "value": self.passes.gradient(theta, x, t, gradient),
            "gradient": gradient,
            "squared gradient": self.passes.squared_gradient(theta, x, t),
            "product": self.passes.curvature(theta, x, t)(v).clone(),
        }
        if self.structural is not None:
            product = self.passes.curvature(theta, x, t, self.structural)
            found["structural"] = product(v).clone()
        return found


def images(loss: MatchingLoss, by_hand: bool) -> Setting:
    problem = Tiny(loss, by_hand)
    theta, v = (2 * draw(ROWS, problem.layout.size) - 1 for _ in range(2))
    for each in (theta, v):
        each[:, padding(problem)] = 0
    x = draw(ROWS, CASES, 12)
    return Setting(problem.passes(), theta, v, x, x)


def recurrent(every_step: bool) -> Setting:
    loss = SteppedSoftmaxCrossEntropy() if every_step else LogisticCrossEntropy()
    network = RecurrentNetwork(features=2, units=4, outputs=3, every_step=every_step)
    passes = RecurrentPasses(network, loss, STEPS)
    theta, v = (torch.zeros(ROWS, passes.layout.size, dtype=torch.float64) for _ in range(2))
    for each in (*passes.layout.views(theta).values(), *passes.layout.views(v).values()):
        each.copy_(draw(*each.shape) - 0.5)
    x = sequences(2)
    if every_step:
        targets = torch.softmax(draw(ROWS, CASES, STEPS, 3), -1)
        return Setting(passes, theta, v, x[..., :-1], targets, 0.3)
    return Setting(passes, theta, v, x, draw(ROWS, CASES, 3), 0.3)


def recurrent_by_autodiff() -> Setting:
    problem = SequenceProblem("add", "quick")
    theta, v = (0.1 * (draw(ROWS, problem.layout.size) - 0.5) for _ in range(2))
    v[:, padding(problem)] = 0
    x = sequences(problem.task.features)
    return Setting(AutodiffPasses(problem), theta, v, x, draw(ROWS, CASES, 1), 0.3)


def sequences(features: int) -> Tensor:
    """Inputs whose ends differ from case to case and from group to group."""
    ends = torch.randint(0, STEPS, (ROWS, CASES))
    return torch.cat([draw(ROWS, CASES, STEPS, features), F.one_hot(ends, STEPS)[..., None]], -1)


SETTINGS: dict[str, Callable[[], Setting]] = {
    "logistic outputs": lambda: images(LogisticCrossEntropy(), by_hand=True),
    "linear outputs": lambda: images(HalfSquaredError(), by_hand=True),
    "read at the end": lambda: recurrent(every_step=False),
    "read at every step": lambda: recurrent(every_step=True),
    "autodiff": lambda: images(LogisticCrossEntropy(), by_hand=False),
    "recurrent by autodiff": recurrent_by_autodiff,
}
every_setting = pytest.mark.parametrize("name", SETTINGS)
every_number = pytest.mark.parametrize("groups", GROUPS)


def close(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    assert (got - expected).norm() <= WITHIN * expected.norm()


@every_setting
@every_number
def test_a_row_in_a_group_is_that_row_alone(name: str, groups: int) -> None:
    setting = SETTINGS[name]()
    together = setting.everything(slice(None), slice(groups))
    for k in range(ROWS):
        group = k * groups // ROWS
        alone = setting.everything(slice(k, k + 1), slice(group, group + 1))
        for what, value in alone.items():
            close(together[what][k : k + 1], value)


@every_setting
def test_groups_differ_where_their_cases_do(name: str) -> None:
    """Else a row that saw another group's cases would go unnoticed."""
    setting = SETTINGS[name]()
    first, second = (setting.everything(slice(1), slice(group, group + 1)) for group in (0, 1))
    for what in first:
        assert (first[what] - second[what]).norm() > 1e6 * WITHIN * first[what].norm()


@pytest.mark.parametrize("name", ["linear outputs", "read at the end", "read at every step"])
@every_number
def test_no_value_is_looked_at(name: str, groups: int) -> None:
    """Tensors without values go through, so that a graph captured on some cases fits all others."""
    setting = SETTINGS[name]()
    for what in ("theta", "v", "inputs", "targets"):
        setattr(setting, what, getattr(setting, what).to("meta"))
    found = setting.everything(slice(None), slice(groups))
    assert all(value.is_meta for value in found.values())


@every_number
def test_rows_of_a_group_see_the_same_memory(groups: int) -> None:
    x = draw(groups, CASES, 3)
    taken = []
    for rows, seen in by_group(x, ROWS):
        taken += range(ROWS)[rows]
        assert seen.shape == (ROWS // groups, CASES, 3)
        for row in seen:
            assert row.data_ptr() == x[rows.start * groups // ROWS].data_ptr()
    assert taken == list(range(ROWS))
    assert for_rows(x, ROWS).shape == (ROWS, CASES, 3)
    assert (for_rows(x, ROWS).data_ptr() == x.data_ptr()) == (groups in (1, ROWS))


@every_number
def test_products_are_those_of_each_row(groups: int) -> None:
    x, weight, bias = draw(groups, CASES, 3), draw(ROWS, 3, 2), draw(ROWS, 2)
    out, back = torch.empty(ROWS, CASES, 2).double(), torch.empty(ROWS, 3, 2).double()
    affine_into(out, x, weight, bias)
    delta = draw(ROWS, CASES, 2)
    product_into(back, x, delta)
    for k in range(ROWS):
        seen = x[k * groups // ROWS]
        close(out[k], seen @ weight[k] + bias[k])
        close(back[k], seen.T @ delta[k])


@every_number
def test_a_function_of_values_and_cases_is_that_of_each_row(groups: int) -> None:
    z, t = draw(ROWS, CASES, 3), draw(groups, CASES, 3)
    found = over_groups(lambda values, cases: (values - cases).square().sum(-1), z, t)
    for k in range(ROWS):
        close(found[k], (z[k] - t[k * groups // ROWS]).square().sum(-1))


def test_groups_that_do_not_divide_the_rows_are_refused() -> None:
    with pytest.raises(IndexError):
        list(by_group(draw(4, 2), ROWS))
    with pytest.raises(RuntimeError):
        over_groups(torch.sub, draw(ROWS, 2), draw(4, 2))
