import inspect
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from optim.hyperparameters import UsageError
from optim.objective import Method, Objective
from optim.registry import resolve
from optim.torch_adapter import adapt
from tests.optim.moving import MovingObjective, start

ELEMENTWISE = (
    "ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop",
    "Rprop", "SGD",
)  # fmt: skip


def train(method: Method, steps: int = 50, objective: Objective | None = None) -> Tensor:
    theta, objective = start(), objective or MovingObjective()
    state = method.init(theta, 0, steps)
    for _ in range(steps):
        method.step(theta, objective, state)
    assert method.iterate(theta, state) is theta
    return theta


def own_loop(optimizer: type[torch.optim.Optimizer], steps: int = 50, **given: Any) -> Tensor:
    parameter = torch.nn.Parameter(start())
    made, objective = optimizer([parameter], **given), MovingObjective()
    for t in range(steps):
        parameter.grad = objective.at(t)(parameter.detach())
        made.step()
    return parameter.detach()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_training_is_that_of_a_loop_of_ones_own(name: str) -> None:
    moved = train(resolve(f"torch.optim.{name}[lr=0.05]"))
    assert not torch.equal(moved, start())
    assert torch.equal(moved, own_loop(getattr(torch.optim, name), lr=0.05))


def test_hyperparameters_reach_the_optimizer() -> None:
    text = "torch.optim.AdamW[lr=1e-3,weight_decay=0.1,eps=1e-4,amsgrad=true]"
    expected = own_loop(torch.optim.AdamW, lr=1e-3, weight_decay=0.1, eps=1e-4, amsgrad=True)
    assert torch.equal(train(resolve(text)), expected)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_declaration_is_torchs_own(name: str) -> None:
    cls = getattr(torch.optim, name)
    declared = {h.name: h.default for h in adapt(f"torch.optim.{name}").space}
    assert declared.pop("batch") == 200
    defaults = {p.name: p.default for p in inspect.signature(cls).parameters.values()}
    assert declared
    assert all(defaults[key] == value for key, value in declared.items())
    assert not {"capturable", "differentiable", "foreach", "fused"} & declared.keys()


class Kept(MovingObjective):
    """Looks at its own memory again before it is asked for the next gradient."""

    def gradient(self, theta: Tensor, on: Any) -> tuple[Tensor, Tensor]:
        self.check()
        loss, gradient = super().gradient(theta, on)
        self.copy = gradient.clone()
        return loss, gradient

    def check(self) -> None:
        if self.handed_out is not None:
            assert torch.equal(self.handed_out, self.copy)


def test_the_gradient_of_the_objective_is_not_written_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch writes over it where it takes all tensors at once, which is its way on a GPU."""
    at_once = partial(torch.optim.SGD, foreach=True)
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    at_once([parameter], lr=0.1, momentum=0.9, nesterov=True).step()
    assert not torch.equal(parameter.grad, torch.ones(3))

    method, objective = resolve("torch.optim.SGD[momentum=0.9,nesterov=true]"), Kept()
    monkeypatch.setattr(method, "optimizer", at_once)
    train(method, 20, objective)
    objective.check()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_state_round_trip_is_exact_and_owns_its_memory(name: str) -> None:
    text = f"torch.optim.{name}[lr=0.05{',momentum=0.9' if name == 'SGD' else ''}]"
    method, objective, theta = resolve(text), MovingObjective(), start()
    state = method.init(theta, 0, None)
    for _ in range(10):
        method.step(theta, objective, state)
    saved, resumed_theta = method.state_dict(state), theta.clone()
    for _ in range(10):
        method.step(theta, objective, state)

    for _ in range(2):  # The second time from the same saved state.
        again, other, at = resolve(text), MovingObjective(), resumed_theta.clone()
        other.batches = 10
        resumed = again.init(at, 0, None)
        again.load_state_dict(resumed, saved)
        for _ in range(10):
            again.step(at, other, resumed)
        assert torch.equal(at, theta)


def test_one_trial_at_a_time() -> None:
    method = resolve("torch.optim.AdamW")
    assert method.fleet_key is None
    assert method.cost_of_a_step == 200.0
    with pytest.raises(UsageError, match="torch.optim.AdamW trains one trial at a time"):
        method.join([method])
    with pytest.raises(UsageError, match="torch.optim.AdamW trains one trial at a time"):
        method.init(start(2), 0, None)


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(text)
    return str(caught.value)


def test_an_unknown_optimizer_gets_the_nearest() -> None:
    assert refusal("torch.optim.adamw").endswith("; did you mean 'AdamW'?")
    assert refusal("torch.optim.Zzz").startswith("torch.optim has no 'Zzz'")


@pytest.mark.parametrize("name", ["LBFGS", "SparseAdam", "Muon", "Adafactor", "Optimizer"])
def test_optimizers_that_a_flat_theta_and_one_gradient_do_not_suit(name: str) -> None:
    assert refusal(f"torch.optim.{name}").startswith(
        f"torch.optim has no {name!r} that moves each number of a flat θ by one gradient a step"
    )


def test_what_the_optimizer_refuses_is_said_before_anything_runs() -> None:
    assert refusal("torch.optim.SGD[nesterov=true]") == (
        "torch.optim.SGD refuses its hyperparameters: "
        "Nesterov momentum requires a momentum and zero dampening."
    )
    assert refusal("torch.optim.AdamW[lr=-1]").startswith(
        "torch.optim.AdamW refuses its hyperparameters: Invalid learning rate"
    )
    assert refusal("torch.optim.AdamW[learning_rate=1]").startswith(
        "torch.optim.AdamW has no hyperparameter 'learning_rate'"
    )
