"""How torch optimizers work, found by trying."""

import random
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.optim.hyperparameters import UsageError
from bench.optim.torch.probe import MATRICES, NETWORK, VECTOR, Manner, manner_of


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
        self.state[each] = {
            "v": torch.zeros_like(each),
            "list": [torch.zeros_like(each) for _ in "ab"],
        }
        return super().u(each)


class Global(Own):
    """By the norm of all numbers."""

    def u(self, each: Tensor) -> Tensor:
        every = [other.grad for group in self.param_groups for other in group["params"]]
        return super().u(each) / torch.cat([g.view(-1) for g in every if g is not None]).norm()


class Decomposing(Own):
    """Its steps are long, and a matrix that is not finite has no singular values: an error."""

    def u(self, each: Tensor) -> Tensor:
        gradient = super().u(each)
        norm = torch.linalg.svdvals(gradient)[0] if each.dim() == 2 else 1.0
        return 1e30 * gradient * norm


class Layerwise(Own):
    def u(self, each: Tensor) -> Tensor:
        return super().u(each) / super().u(each).norm()


class Matrices(Own):
    def u(self, each: Tensor) -> Tensor:
        if each.dim() != 2:
            raise ValueError("matrices alone")
        return super().u(each)


class Vectors(Own):
    def u(self, each: Tensor) -> Tensor:
        if each.dim() != 1:
            raise ValueError("vectors alone")
        return super().u(each)


class Squares(Own):
    """Its state is a square matrix for every matrix."""

    def u(self, each: Tensor) -> Tensor:
        self.state[each]["L"] = torch.zeros(each.shape[0], each.shape[0] if each.dim() > 1 else 1)
        return super().u(each)


class Noise(Own):
    """Draws twice for each number, from torch's stream."""

    def u(self, each: Tensor) -> Tensor:
        drop = torch.bernoulli(torch.full_like(each, 0.7))
        return super().u(each) * drop + torch.randn_like(each) + torch.empty_like(each).uniform_()


class Kick(Own):
    """Draws once for each step, from NumPy's stream and Python's."""

    def step(self) -> None:  # type: ignore[override]
        self.factor = np.random.rand() + random.random()
        super().step()

    def u(self, each: Tensor) -> Tensor:
        return super().u(each) * self.factor


class Skip(Own):
    """Draws once for each tensor, whether to leave it as it is."""

    def u(self, each: Tensor) -> Tensor:
        return super().u(each) * (torch.rand(()) < 0.9)


class OwnGenerator(Own):
    """Has a generator of its own with a fixed seed."""

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self.own = torch.Generator().manual_seed(7)

    def u(self, each: Tensor) -> Tensor:
        return super().u(each) + torch.randn(each.shape, generator=self.own)


class Again(Own):
    """Differentiates the gradient."""

    def u(self, each: Tensor) -> Tensor:
        u = super().u(each)
        with torch.enable_grad():
            return torch.autograd.grad(u.sum(), each, retain_graph=True)[0] * u.detach()


class AgainLater(Again):
    """Differentiates the gradient from the third step on."""

    def __init__(self, parts: Any) -> None:
        super().__init__(parts)
        self.steps = 0

    def step(self) -> None:  # type: ignore[override]
        self.steps += 1
        super().step()

    def u(self, each: Tensor) -> Tensor:
        return super().u(each) if self.steps > 2 else Own.u(self, each)


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


class Rebinding(Own):
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for each in group["params"]:
                each.data = each.data - 0.01 * self.u(each)


class Setting(Own):
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for each in group["params"]:
                with torch.no_grad():
                    each.set_(each - 0.01 * self.u(each))


class Waiting(Own):
    """Moves in every thirtieth step."""

    count = 0

    def u(self, each: Tensor) -> Tensor:
        self.count += 1
        return super().u(each) * (self.count % 30 == 0)


class Seldom(Own):
    """Evaluates the closure in every second step."""

    count = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.count += 1
        if self.count % 2 == 0 and closure is not None:
            closure()
        super().step()


class Late(Own):
    """Evaluates the closure in every twentieth step."""

    count = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.count += 1
        if self.count % 20 == 0 and closure is not None:
            closure()
        super().step()


class Ignoring(Own):
    """Takes a closure, and never evaluates it."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()


class Copying(Own):
    """Steps on copies of its parameters."""

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self.copies = [each.detach().clone() for each in self.param_groups[0]["params"]]

    def step(self) -> None:  # type: ignore[override]
        for copied, each in zip(self.copies, self.param_groups[0]["params"], strict=True):
            copied.sub_(each.grad, alpha=0.01)


class Swapping(Own):
    """Puts new parameters into its group."""

    def step(self) -> None:  # type: ignore[override]
        group = self.param_groups[0]
        group["params"] = [
            torch.nn.Parameter(each if each.grad is None else each - 0.01 * each.grad)
            for each in group["params"]
        ]


class SwappingOne(Own):
    def step(self) -> None:  # type: ignore[override]
        super().step()
        parameters = self.param_groups[0]["params"]
        parameters[0] = torch.nn.Parameter(parameters[0].detach().clone())
        parameters[0].grad = torch.zeros_like(parameters[0])


class Hooked(Own):
    """Makes its update while backward runs."""

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        for each in self.param_groups[0]["params"]:
            each.register_post_accumulate_grad_hook(self.update)

    def update(self, each: Tensor) -> None:
        with torch.no_grad():
            each.sub_(self.u(each), alpha=0.01)
        each.grad = None

    def step(self) -> None:  # type: ignore[override]
        pass


class Clipping(Own):
    """Clips in hooks, and steps."""

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        for each in self.param_groups[0]["params"]:
            each.register_hook(lambda gradient: gradient.clamp(-1, 1))


class HookingLater(Own):
    """Registers its hooks in its first step."""

    def step(self) -> None:  # type: ignore[override]
        super().step()
        for each in self.param_groups[0]["params"]:
            if not each._backward_hooks:
                each.register_hook(lambda gradient: gradient)


class OnTheGraph(Own):
    """Hooks where gradients are accumulated, which no parameter shows."""

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self.kept = []
        for each in self.param_groups[0]["params"]:
            node = each.expand_as(each).grad_fn.next_functions[0][0]
            node.register_hook(lambda *_, each=each: self.halve(each))
            self.kept.append(node)

    def halve(self, each: Tensor) -> None:
        with torch.no_grad():
            each.grad.mul_(0.5)


class Widening(Own):
    def step(self) -> None:  # type: ignore[override]
        super().step()
        for each in self.param_groups[0]["params"]:
            each.data = each.data.double()
            each.grad = None


class Freezing(Own):
    def step(self) -> None:  # type: ignore[override]
        super().step()
        for each in self.param_groups[0]["params"]:
            each.requires_grad_(False)


class Counting(Own):
    """Counts the steps of every instance."""

    count: ClassVar[int] = 0

    def u(self, each: Tensor) -> Tensor:
        Counting.count += 1
        return super().u(each) / Counting.count


class Unseeded(Own):
    def u(self, each: Tensor) -> Tensor:
        return super().u(each) * np.random.default_rng().random()


class Backward(Own):
    """Calls backward itself, on what the closure returns."""

    def step(self, closure: Any) -> None:  # type: ignore[override]
        closure().backward()
        super().step()


class Halving(Own):
    """It leaves half the precision, so that its second step fails."""

    def step(self) -> None:  # type: ignore[override]
        super().step()
        for group in self.param_groups:
            for each in group["params"]:
                each.data = each.data.half()


class Shrinking(Own):
    def step(self) -> None:  # type: ignore[override]
        super().step()
        for group in self.param_groups:
            for each in group["params"]:
                each.data = each.data[..., :-1]


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (Halving, "turns parameters of type torch.float32 .* into torch.float16"),
        (Shrinking, "turns parameters of type torch.float32 and shape .* into torch.float32"),
        (Copying, "has moved no parameter in 100 steps. It may keep parameters of its own"),
        (Swapping, "puts other tensors into its param_groups than it was given"),
        (SwappingOne, "puts other tensors into its param_groups than it was given"),
        (Hooked, "registers hooks on its parameters"),
        (Clipping, "registers hooks on its parameters"),
        (HookingLater, "registers hooks on its parameters"),
        (OnTheGraph, "gives other parameters where backward\\(\\) computes the gradients"),
        (Widening, "turns parameters of type torch.float32 .* into torch.float64"),
        (Freezing, "switches off requires_grad of its parameters"),
        (Counting, "does not repeat itself"),
        (Unseeded, "does not repeat itself"),
        (Backward, "cannot make a step: it calls backward\\(\\) on the loss"),
    ],
)
def test_what_does_something_else_than_in_a_loop_is_refused(optimizer: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=f"^it {reason}"):
        manner_of(optimizer, "it")


def test_a_step_size_of_0_may_rest() -> None:
    def made(parts: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parts, lr=0)

    manner_of(made, "it", may_rest=True)
    with pytest.raises(UsageError, match="^it has moved no parameter in 100 steps"):
        manner_of(made, "it")


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (Own, Manner(False, True, 0)),
        (Keeping, Manner(False, True, 3)),
        (Squares, Manner(False, True, 1)),
        (Layerwise, Manner(False, True, 0)),
        (Matrices, Manner(False, True, 0)),
        (Vectors, Manner(False, True, 0)),
        (Skip, Manner(False, True, 0)),
        (Global, Manner(False, True, 0)),
        (Noise, Manner(False, True, 0)),
        (Kick, Manner(False, True, 0)),
        (OwnGenerator, Manner(False, True, 0)),
        (Rebinding, Manner(False, True, 0)),
        (Setting, Manner(False, True, 0)),
        (Waiting, Manner(False, True, 0)),
        (Seldom, Manner(False, False, 0, besides=True)),
        (Late, Manner(False, False, 0, besides=True)),
        (Ignoring, Manner(False, True, 0, besides=True)),
        (Spread, Manner(True, False, 0)),
        (Uneven, Manner(True, False, 0)),
        (Once, Manner(True, True, 0)),
        (Switching, Manner(False, True, 0)),
        (lambda parts: torch.optim.SGD(parts, lr=0.1, momentum=0.9), Manner(True, True, 1)),
        (Again, Manner(False, True, 0, differentiates=True)),
        (AgainLater, Manner(False, True, 0, differentiates=True)),
    ],
)
def test_how_an_optimizer_works_is_found(optimizer: Any, expected: Manner) -> None:
    before = torch.get_rng_state()
    assert manner_of(optimizer, "it") == expected
    assert torch.equal(torch.get_rng_state(), before)


def test_steps_of_any_length_are_made() -> None:
    assert manner_of(Decomposing, "it") == Manner(by_closure=False, once=True, held=0)


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (Refusing, "RuntimeError: not like this.$"),
    ],
)
def test_what_cannot_make_a_step_says_why(optimizer: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=f"^it cannot make a step: {reason}"):
        manner_of(optimizer, "it")


@pytest.mark.parametrize(
    ("optimizer", "expected"), [(Own, NETWORK), (Matrices, MATRICES), (Vectors, VECTOR)]
)
def test_parameters_are_those_of_a_network_if_possible(optimizer: Any, expected: Any) -> None:
    seen: list[list[tuple[int, ...]]] = []

    def made(parts: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        seen.append([tuple(each.shape) for each in parts])
        return optimizer(parts)

    manner_of(made, "it")
    assert seen[-1] == list(expected)
