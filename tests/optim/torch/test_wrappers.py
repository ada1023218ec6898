"""Optimizers that are made of another one train as in a loop of one's own, to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method
from bench.optim.torch.adapter import TorchMethod, adapt
from tests.optim.moving import MovingObjective, start

STEPS = 25


def lookahead(parameters: list[nn.Parameter], lr: float = 0.05) -> Any:
    return pytorch_optimizer.Lookahead(torch.optim.AdamW(parameters, lr=lr))


def slow_product(parameters: list[nn.Parameter], lr: float = 0.05) -> Any:
    """NAdam has a product of type float32, whatever the type of θ."""
    return pytorch_optimizer.Lookahead(torch.optim.NAdam(parameters, lr=lr))


def orthogonal(parameters: list[nn.Parameter], lr: float = 0.05) -> Any:
    return pytorch_optimizer.OrthoGrad(torch.optim.AdamW(parameters, lr=lr))


def schedule_free(parameters: list[nn.Parameter], lr: float = 0.05) -> Any:
    return pytorch_optimizer.ScheduleFreeWrapper(torch.optim.SGD(parameters, lr=lr))


def trac(parameters: list[nn.Parameter], lr: float = 0.1) -> Any:
    return pytorch_optimizer.TRAC(torch.optim.AdamW(parameters, lr=lr))


def sam(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Any:
    return pytorch_optimizer.SAM(parameters, torch.optim.SGD, rho=rho, lr=lr)


def look_sam(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Any:
    return pytorch_optimizer.LookSAM(parameters, torch.optim.SGD, rho=rho, k=3, lr=lr)


def friendly_sam(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Any:
    return pytorch_optimizer.FriendlySAM(parameters, torch.optim.AdamW, rho=rho, lr=lr)


def bayesian_sam(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Any:
    return pytorch_optimizer.BSAM(parameters, num_data=10_000, lr=lr, rho=rho)


def weighted_sam(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Any:
    return pytorch_optimizer.WSAM(nn.Module(), parameters, torch.optim.SGD, rho=rho, lr=lr)


class Bare(torch.optim.Optimizer):
    """A wrapper that has neither groups nor a state of its own."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"inner": self.inner.state_dict()}

    def load_state_dict(self, state_dict: Any) -> None:
        self.inner.load_state_dict(state_dict["inner"])


def bare(parameters: list[nn.Parameter], lr: float = 0.05) -> Any:
    return Bare(torch.optim.NAdam(parameters, lr=lr))


BY_GRADIENT = (lookahead, slow_product, orthogonal, schedule_free, trac)
BESIDES = (sam, look_sam, friendly_sam, bayesian_sam)
"""These use the gradient from before the step, and evaluate the closure in it."""
BY_CLOSURE = (weighted_sam, bare)
EVERY = (*BY_GRADIENT, *BESIDES, *BY_CLOSURE)


def method_of(factory: Any) -> Method:
    return adapt(factory, factory.__name__)("torch")


def trained(method: Method, steps: int = STEPS) -> Tensor:
    theta, objective = start(), MovingObjective()
    state = method.init(theta, 0, steps)
    with torch.no_grad():
        for _ in range(steps):
            method.step(theta, objective, state)
    return theta


def own_loop(factory: Any, steps: int = STEPS) -> Tensor:
    parameter, objective = nn.Parameter(start()), MovingObjective()
    made = factory([parameter])
    if hasattr(made, "train"):
        made.train()
    for t in range(steps):

        def closure(t: int = t) -> Tensor:
            parameter.grad = objective.at(t)(parameter.detach())
            return torch.zeros(())

        closure()
        made.step(closure) if factory in (*BESIDES, *BY_CLOSURE) else made.step()
    return parameter.detach()


@pytest.mark.parametrize("factory", EVERY)
def test_training_is_that_of_a_loop_of_ones_own(factory: Any) -> None:
    # One of them draws.
    torch.manual_seed(0)
    found = trained(method_of(factory))
    assert not torch.equal(found, start())
    torch.manual_seed(0)
    assert torch.equal(found, own_loop(factory))


@pytest.mark.parametrize("factory", EVERY)
def test_what_a_step_needs_is_found(factory: Any) -> None:
    method = method_of(factory)
    assert isinstance(method, TorchMethod)
    manner = method.manner
    assert manner.besides == (factory in BESIDES)
    # A step that evaluates the network twice has no fixed cost.
    once = factory not in (*BESIDES, weighted_sam)
    assert manner.once == once
    assert method.cost_of_a_step == (200.0 if once else None)


def test_the_size_of_the_state_is_that_of_all_optimizers_together() -> None:
    sizes = {factory: adapt(factory, "own")("torch").manner.held for factory in EVERY}  # type: ignore[attr-defined]
    assert sizes[lookahead] == 3
    assert sizes[bare] == 2
    # Its state is that of the inner one, and counts once.
    assert sizes[orthogonal] == 2
    assert sizes[sam] == 0


@pytest.mark.parametrize("factory", EVERY)
def test_a_run_goes_on_from_a_saved_state(factory: Any) -> None:
    method, objective, theta = method_of(factory), MovingObjective(), start()
    with torch.no_grad():
        torch.manual_seed(0)
        state = method.init(theta, 0, None)
        for _ in range(8):
            method.step(theta, objective, state)
        saved, at, other = method.state_dict(state), theta.clone(), MovingObjective()
        other.batches = 8
        again = method.init(at, 0, None)
        method.load_state_dict(again, saved)
        for which, where, made in ((objective, theta, state), (other, at, again)):
            torch.manual_seed(1)
            for _ in range(8):
                method.step(where, which, made)
    assert torch.equal(at, theta)


class Replacing(Bare):
    """Puts another parameter into the group of the optimizer that it wraps."""

    def step(self, closure: Any = None) -> Any:
        (group,) = self.inner.param_groups
        group["params"] = [nn.Parameter(each.detach() + 1) for each in group["params"]]


def test_a_parameter_that_the_inner_one_loses_is_noticed() -> None:
    with pytest.raises(UsageError, match="puts other tensors into its param_groups"):
        adapt(lambda parameters: Replacing(torch.optim.SGD(parameters)), "own")("torch")
