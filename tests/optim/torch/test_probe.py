"""Which torch optimizers a flat θ suits, found by trying."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bench.optim.hyperparameters import UsageError
from bench.optim.torch.probe import NUMBERS, Manner, manner_of


class Own(torch.optim.Optimizer):
    """θ ← θ − 0.01 u, where u is what a subclass makes of the gradient."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    def u(self, each: Tensor) -> Tensor:
        assert each.grad is not None
        return each.grad

    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for each in group["params"]:
                with torch.no_grad():
                    each.sub_(self.u(each), alpha=0.01)


class Keeping(Own):
    def u(self, each: Tensor) -> Tensor:
        self.state[each] = {"v": torch.zeros_like(each), "lists": [torch.zeros_like(each)] * 2}
        return super().u(each)


class Global(Own):
    """By the norm of all numbers: another cut only adds in another order."""

    def u(self, each: Tensor) -> Tensor:
        every = [other.grad for group in self.param_groups for other in group["params"]]
        return super().u(each) / torch.cat([g.view(-1) for g in every if g is not None]).norm()


class Layerwise(Own):
    def u(self, each: Tensor) -> Tensor:
        return super().u(each) / super().u(each).norm()


class Axes(Own):
    def u(self, each: Tensor) -> Tensor:
        return super().u(each) * each.dim()


class Late(Own):
    """Looks at a layer from its sixth step on."""

    def u(self, each: Tensor) -> Tensor:
        count = self.state[each]["count"] = self.state[each].get("count", 0) + 1
        u = super().u(each)
        return u if count < 6 else u / u.norm()


class Matrices(Own):
    def u(self, each: Tensor) -> Tensor:
        if each.dim() != 2:
            raise ValueError("matrices alone")
        return super().u(each)


class Chance(Layerwise):
    def u(self, each: Tensor) -> Tensor:
        return super().u(each) + torch.rand_like(each)


class Again(Own):
    """Differentiates the gradient."""

    def u(self, each: Tensor) -> Tensor:
        u = super().u(each)
        with torch.enable_grad():
            return torch.autograd.grad(u.sum(), each, retain_graph=True)[0] * u.detach()


class Refusing(Own):
    def u(self, each: Tensor) -> Tensor:
        raise RuntimeError("not like this.")


class Spread(Own):
    """Evaluates as often as it likes."""

    times = (2, 2)

    def step(self, closure: Any) -> None:  # type: ignore[override]
        self.count = getattr(self, "count", 0) + 1
        for _ in range(self.times[self.count % 2]):
            closure()
        super().step()


class Uneven(Spread):
    times = (1, 3)


class Once(Spread):
    times = (1, 1)


class Switching(Own):
    """Steps in its training mode alone."""

    training = False

    def train(self) -> None:
        self.training = True

    def eval(self) -> None:
        self.training = False

    def u(self, each: Tensor) -> Tensor:
        assert self.training
        return super().u(each)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (Own, Manner(False, True, 0)),
        (Keeping, Manner(False, True, 3)),
        (Global, Manner(False, True, 0)),
        (Chance, Manner(False, True, 0)),
        (Spread, Manner(True, False, 0)),
        (Uneven, Manner(True, False, 0)),
        (Once, Manner(True, True, 0)),
        (Switching, Manner(False, True, 0)),
        (lambda parts: torch.optim.SGD(parts, lr=0.1, momentum=0.9), Manner(True, True, 1)),
    ],
)
def test_what_a_flat_theta_suits(optimizer: Any, expected: Manner) -> None:
    before = torch.get_rng_state()
    assert manner_of(optimizer, "it") == expected
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("optimizer", [Layerwise, Axes, Late, Matrices])
def test_what_sees_how_parameters_are_cut_is_refused(optimizer: Any) -> None:
    with pytest.raises(UsageError, match="^it depends on the shapes of the parameter tensors"):
        manner_of(optimizer, "it")


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (Again, "it differentiates gradients again \\(create_graph=True\\), and an objective's"),
        (Refusing, "RuntimeError: not like this.$"),
    ],
)
def test_what_cannot_make_a_step_says_why(optimizer: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=f"^it cannot make a step on a flat θ: {reason}"):
        manner_of(optimizer, "it")


def test_as_many_numbers_either_way() -> None:
    seen: list[list[torch.Size]] = []

    def made(parts: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        seen.append([each.shape for each in parts])
        return Own(parts)

    manner_of(made, "it")
    flat, cut = seen
    assert flat == [torch.Size((1, NUMBERS))]
    assert {len(shape) for shape in cut} == {1, 2}
    assert sum(shape.numel() for shape in cut) == NUMBERS
