"""Torch optimizers that give their parameter other memory train as in a loop of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.optim.hyperparameters import UsageError
from bench.optim.objective import BudgetSpent, Method
from bench.optim.recipe.method import with_recipe
from bench.optim.torch.adapter import adapt
from tests.optim.moving import MovingObjective, start


class Own(torch.optim.Optimizer):
    """θ ← θ − lr ∇f, in place."""

    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params, {"lr": lr})

    def parameters(self) -> list[Tensor]:
        return [each for group in self.param_groups for each in group["params"]]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for each in self.parameters():
            self.move(each, each - 0.05 * each.grad)

    def move(self, each: Tensor, to: Tensor) -> None:
        each.copy_(to)


class Data(Own):
    def move(self, each: Tensor, to: Tensor) -> None:
        each.data = to


class Set(Own):
    def move(self, each: Tensor, to: Tensor) -> None:
        each.set_(to)  # type: ignore[call-overload]


class Swap(Own):
    """Exchanges the tensors themselves, so that the parameter stays the same object."""

    def move(self, each: Tensor, to: Tensor) -> None:
        gradient = each.grad
        each.grad = None
        torch.utils.swap_tensors(each, torch.nn.Parameter(to))
        each.grad = gradient


class Transposed(Own):
    """Its memory is in another order."""

    def move(self, each: Tensor, to: Tensor) -> None:
        each.data = torch.stack([to, to], -1)[..., 0]


class Sometimes(Own):
    """Moves its parameter elsewhere in each third step."""

    count = 0

    def move(self, each: Tensor, to: Tensor) -> None:
        self.count += 1
        if self.count % 3 == 0:
            each.data = to
        else:
            each.copy_(to)


class Double(Own):
    """Has two memories, and uses them in turn."""

    def move(self, each: Tensor, to: Tensor) -> None:
        other = self.state[each].setdefault("other", torch.zeros_like(each))
        other.copy_(to)
        self.state[each]["other"] = each.data
        each.data = other


class HeavyBall(Own):
    """Keeps the tensor of the step before, and not a copy of it."""

    def move(self, each: Tensor, to: Tensor) -> None:
        before = self.state[each].get("before", each.data)
        self.state[each]["before"] = each.data
        each.data = to + 0.5 * (each.data - before)


class SAM(Own):
    """Evaluates beside θ, and goes back by assignment."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is not None
        closure()
        before = [each.data for each in self.parameters()]
        for each in self.parameters():
            each.data = each.data + 0.1 * each.grad
        closure()
        for each, at in zip(self.parameters(), before, strict=True):
            each.data = at
            each.data = each.data - 0.05 * each.grad


class Average(Data):
    """Is evaluated at a mean, which `eval` assigns."""

    def train(self) -> None:
        for each in self.parameters():
            if "at" in self.state[each]:
                each.data = self.state[each].pop("at")

    def eval(self) -> None:
        for each in self.parameters():
            if "mean" in self.state[each]:
                self.state[each]["at"] = each.data
                each.data = self.state[each]["mean"].clone()

    def move(self, each: Tensor, to: Tensor) -> None:
        super().move(each, to)
        mean = self.state[each].setdefault("mean", each.detach().clone())
        mean.mul_(0.9).add_(each, alpha=0.1)


class Buffer(Own):
    """Puts its parameters into one memory, and moves that."""

    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params, lr)
        own = self.parameters()
        self.whole = torch.cat([each.detach().view(-1) for each in own])
        parts = self.whole.split([each.numel() for each in own])
        for each, part in zip(own, parts, strict=True):
            each.data = part.view(each.shape)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.whole.sub_(0.05 * torch.cat([each.grad.view(-1) for each in self.parameters()]))


REBINDING = (Data, Set, Swap, Transposed, Sometimes, Double, HeavyBall, SAM, Average, Buffer)


def of(optimizer: type[Own]) -> Method:
    return adapt(optimizer, "own")("torch", batch=1)


def own_loop(optimizer: type[Own], steps: int) -> list[Tensor]:
    parameter, objective = torch.nn.Parameter(start()), MovingObjective()
    made, path = optimizer([parameter]), []
    for t in range(steps):

        def closure(t: int = t) -> None:
            parameter.grad = objective.at(t)(parameter.detach())

        closure()
        made.step(closure)
        path.append(parameter.detach().clone())
    return path


@pytest.mark.parametrize("optimizer", [Own, *REBINDING])
def test_a_parameter_is_followed_wherever_it_goes(optimizer: type[Own]) -> None:
    method, objective, theta = of(optimizer), MovingObjective(), start()
    state = method.init(theta, 0, None)
    for expected in own_loop(optimizer, 20):
        method.step(theta, objective, state)
        assert torch.equal(theta, expected)
    assert not torch.equal(theta, start())


@pytest.mark.parametrize("optimizer", [Data, Set, Swap, Transposed, Sometimes, Double])
def test_one_algorithm_written_in_two_ways_is_one(optimizer: type[Own]) -> None:
    for one, other in zip(own_loop(Own, 20), own_loop(optimizer, 20), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("optimizer", [Data, Set, Swap, Sometimes, SAM, Average, Buffer])
def test_a_run_goes_on_from_its_saved_state(optimizer: type[Own]) -> None:
    method, objective, theta = of(optimizer), MovingObjective(), start()
    state = method.init(theta, 0, None)
    for _ in range(7):
        method.step(theta, objective, state)
    saved, at = method.state_dict(state), theta.clone()
    # One that has begun, and has other memory already, is put back as well.
    for begun in (0, 4):
        again, other, resumed = of(optimizer), MovingObjective(), start()
        its = again.init(resumed, 0, None)
        for _ in range(begun):
            again.step(resumed, other, its)
        resumed.copy_(at)
        again.load_state_dict(its, saved)
        other.batches = 7
        for expected in own_loop(optimizer, 12)[7:]:
            again.step(resumed, other, its)
            assert torch.equal(resumed, expected)


@pytest.mark.parametrize("optimizer", [Data, Set, Transposed, Sometimes, Double, Buffer])
def test_a_recipe_moves_what_has_other_memory_too(optimizer: type[Own]) -> None:
    def end(kind: type[Own]) -> Tensor:
        made = with_recipe(adapt(kind, "own"), ["weight_decay"])
        method, objective, theta = (
            made("torch", batch=1, weight_decay=0.5),
            MovingObjective(),
            start(),
        )
        state = method.init(theta, 0, None)
        for _ in range(20):
            method.step(theta, objective, state)
        return theta

    assert torch.equal(end(optimizer), end(Own))


def test_an_evaluation_leaves_a_rebinding_optimizer_where_it_is() -> None:
    method, objective, theta = of(Average), MovingObjective(), start()
    state = method.init(theta, 0, None)
    for expected in own_loop(Average, 10):
        method.step(theta, objective, state)
        point = method.iterate(theta, state)
        assert torch.equal(theta, expected)
        if not torch.equal(point, theta):
            (own,) = state.optimizer.state.values()
            assert torch.equal(point[0], own["mean"])
    assert not torch.equal(method.iterate(theta, state), theta)


class Changed(Own):
    """Does `what` to its parameter in the fifteenth step, which no probe of ten sees."""

    what: Callable[[Any, Tensor], None]
    count = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        self.count += 1
        if self.count == 15:
            self.what(self.parameters()[0])


class Exchanged(Changed):
    def what(self, each: Tensor) -> None:  # type: ignore[override]
        self.param_groups[0]["params"] = [torch.nn.Parameter(each.detach().clone())]


class Narrowed(Changed):
    def what(self, each: Tensor) -> None:  # type: ignore[override]
        each.data = each.data.float()


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (Exchanged, "Exchanged puts other tensors into its param_groups than it was given"),
        (Narrowed, "turns parameter θ of type torch.float64 and shape .* into torch.float32"),
    ],
)
def test_what_happens_later_than_the_probe_sees_ends_the_trial(
    optimizer: type[Own], said: str
) -> None:
    method, objective, theta = of(optimizer), MovingObjective(), start()
    state = method.init(theta, 0, None)
    for _ in range(14):
        method.step(theta, objective, state)
    with pytest.raises(UsageError, match=said):
        method.step(theta, objective, state)


class Poor(MovingObjective):
    """Pays for so many gradients."""

    left = 5

    def gradient(self, theta: Tensor, on: Any) -> tuple[Tensor, Tensor]:
        if not self.left:
            raise BudgetSpent
        self.left -= 1
        return super().gradient(theta, on)


def test_a_step_that_is_cut_leaves_theta_where_it_was() -> None:
    method, objective, theta = of(SAM), Poor(), start()
    state = method.init(theta, 0, None)
    *_, expected = own_loop(SAM, 2)
    for _ in range(2):
        method.step(theta, objective, state)
    with pytest.raises(BudgetSpent):
        method.step(theta, objective, state)
    assert torch.equal(theta, expected)
    assert torch.equal(method.iterate(theta, state), expected)
