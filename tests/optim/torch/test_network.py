"""A torch optimizer trains a network's own parameters as in a loop of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.models.from_module import layout_of
from bench.models.layout import Layout
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method
from bench.optim.registry import resolve
from bench.optim.torch.adapter import adapt
from tests.optim.moving import Numbered
from tests.optim.torch.test_rebinding import REBINDING, Own, Transposed


class Network(nn.Module):
    """A kernel, an embedding, a norm, a tied and a frozen matrix, and biases."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.convolution = nn.Conv1d(4, 3, 2)
        self.norm = nn.LayerNorm(3)
        self.hidden = nn.Linear(3, 4, bias=False)
        self.head = nn.Linear(4, 5)
        self.head.weight = self.embedding.weight
        self.frozen = nn.Linear(5, 5)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.convolution(self.embedding(x).mT).mean(-1)
        out: Tensor = self.head(torch.tanh(self.hidden(self.norm(h))))
        return self.frozen(out) + out


class Matrices(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 4, bias=False), nn.Linear(4, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(torch.tanh(self.first(nn.functional.one_hot(x, 6).float())))
        return out.mean(1)


def loss_of(network: Callable[[Tensor], Tensor], number: int) -> Tensor:
    draw = torch.Generator().manual_seed(number)
    x, t = torch.randint(5, (8, 3), generator=draw), torch.randint(5, (8,), generator=draw)
    return nn.functional.cross_entropy(network(x), t)


class Parts:
    """The gradient by parameter, for an objective that has a layout."""

    layout: Layout

    def gradient(self, theta: Tensor, on: Any) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def gradient_parts(self, theta: Tensor, on: Any) -> tuple[Tensor, list[Tensor]]:
        loss, gradient = self.gradient(theta, on)
        views = self.layout.parameters(gradient[0]).values()
        return loss, [view.clone(memory_format=torch.contiguous_format) for view in views]


class OfModule(Parts):
    """The objective of a module as a function of θ."""

    def __init__(self, module: nn.Module, layout: Layout) -> None:
        self.module, self.layout, self.batches = module, layout, 0

    def next_batch(self, size: Any, stream: str = "gradient") -> Numbered:
        self.batches += 1
        return Numbered(self.batches - 1, size)

    def gradient(self, theta: Tensor, on: Any) -> tuple[Tensor, Tensor]:
        views = self.layout.views(theta[0])
        leaves = {name: view.detach().requires_grad_() for name, view in views.items()}
        with torch.enable_grad():
            loss = loss_of(lambda x: functional_call(self.module, leaves, (x,)), on.n)
            found = torch.autograd.grad(loss, list(leaves.values()))
        out = torch.zeros_like(theta)
        for view, gradient in zip(self.layout.views(out[0]).values(), found, strict=True):
            view.copy_(gradient)
        return loss.detach()[None].double(), out


def trained(
    module: nn.Module, method: Method, steps: int, stop: int | None = None
) -> Mapping[str, Tensor]:
    """Return what a method has trained; before step `stop` it goes on from its saved state."""
    named = {n: p for n, p in module.named_parameters() if p.requires_grad}
    layout = layout_of(module)
    theta = torch.zeros(1, layout.size)
    for name, view in layout.views(theta[0]).items():
        view.copy_(named[name].detach())
    bound, objective = method.for_layout(layout), OfModule(module, layout)
    with torch.no_grad():
        state = bound.init(theta, 0, steps)
        for number in range(steps):
            if number == stop:
                saved = bound.state_dict(state)
                state = bound.init(theta, 0, steps)
                bound.load_state_dict(state, saved)
            bound.step(theta, objective, state)  # type: ignore[arg-type]
    between = torch.ones(1, layout.size)
    for view in layout.views(between).values():
        view.zero_()
    assert not theta[between.bool()].any()
    return layout.views(theta[0])


def own_loop(
    module: nn.Module, make: Callable[..., torch.optim.Optimizer], steps: int, **given: Any
) -> Mapping[str, Tensor]:
    named = {n: p for n, p in module.named_parameters() if p.requires_grad}
    optimizer = make(list(named.values()), **given)
    for number in range(steps):

        def closure(number: int = number) -> Any:
            optimizer.zero_grad()
            with torch.enable_grad():
                loss = loss_of(module, number)
            loss.backward()
            return loss

        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.step(closure)
        else:
            closure()
            # A closure runs the network anew.
            optimizer.step(closure) if isinstance(optimizer, Own) else optimizer.step()
    return {name: each.detach() for name, each in named.items()}


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    return kind()


def same(kind: type[nn.Module], method: Method, make: Any, steps: int = 20, **given: Any) -> None:
    """Check that both ways to train end at the same parameters, to the bit."""
    ours, theirs = trained(made(kind), method, steps), own_loop(made(kind), make, steps, **given)
    start = dict(made(kind).named_parameters())
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert not torch.equal(expected, start[name])
        # Another order in memory makes another order of summation in the loop.
        if make is Transposed:
            assert torch.allclose(ours[name], expected, 1e-5, 1e-5), name
        else:
            assert torch.equal(ours[name], expected), name


TORCHS = (
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam",
    "RMSprop", "Rprop", "SGD",
)  # fmt: skip


@pytest.mark.parametrize("name", TORCHS)
def test_a_network_is_trained_as_in_a_loop_of_ones_own(name: str) -> None:
    method = resolve(f"torch.optim.{name}[lr=0.05]")
    same(Network, method, getattr(torch.optim, name), lr=0.05)


def test_one_that_acts_on_matrices_gets_matrices() -> None:
    same(Matrices, resolve("torch.optim.Muon[lr=0.05]"), torch.optim.Muon, lr=0.05)


def test_lbfgs_gets_the_parameters_one_by_one() -> None:
    """It lays them side by side, without what lies between them in θ."""
    method = resolve("torch.optim.LBFGS[max_iter=3]")
    same(Network, method, torch.optim.LBFGS, 4, max_iter=3)


@pytest.mark.parametrize("optimizer", [Own, *REBINDING])
def test_every_parameter_is_followed_wherever_it_goes(optimizer: type[Own]) -> None:
    same(Network, adapt(optimizer, "own")("torch", batch=1), optimizer)


def refusal(kind: type[nn.Module], method: Method) -> str:
    with pytest.raises(UsageError) as caught:
        trained(made(kind), method, 1)
    return str(caught.value)


def test_one_that_takes_no_vectors_says_so() -> None:
    assert refusal(Network, resolve("torch.optim.Muon")) == (
        "torch.optim.Muon cannot train this network: ValueError: Muon only supports 2D parameters "
        "whereas we found a parameter with size: torch.Size([3, 4, 2]). Give it the parameters "
        "that it is made for, and another optimizer the rest, as in "
        "torch.optim.Muon[on=hidden]+torch.optim.AdamW[on=rest]."
    )


def matrices_alone(parameters: list[nn.Parameter], lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([each for each in parameters if each.dim() == 2], lr=lr)


def test_parameters_that_a_factory_leaves_out_are_named() -> None:
    said = refusal(Network, adapt(matrices_alone, "mine")("torch"))
    assert said == (
        "mine leaves out convolution.weight, convolution.bias, norm.weight, norm.bias and others, "
        "so that a part of the network would not be trained. Put every parameter into a group."
    )


def in_groups(parameters: list[nn.Parameter], lr: float = 0.1) -> torch.optim.Optimizer:
    matrices = [each for each in parameters if each.dim() >= 2]
    others = [each for each in parameters if each.dim() < 2]
    groups = [{"params": others, "weight_decay": 0.0}, {"params": matrices, "weight_decay": 0.5}]
    return torch.optim.AdamW(groups, lr=lr)


def test_a_factory_may_make_groups() -> None:
    same(Network, adapt(in_groups, "mine")("torch", lr=0.05), in_groups, lr=0.05)


def test_a_matrix_of_a_layer_is_as_torch_has_it() -> None:
    """θ may have it as (inputs, outputs); an optimizer sees (outputs, inputs)."""
    seen: list[torch.Size] = []

    class Looking(Own):
        def move(self, each: Tensor, to: Tensor) -> None:
            seen.append(each.shape)
            each.copy_(to)

    layout = Layout({"W": (2, 3), "b": (3,)}, transposed=frozenset({"W"}))
    method = adapt(Looking, "own")("torch", batch=1).for_layout(layout)
    theta = torch.arange(32.0)[None]
    state = method.init(theta, 0, 1)
    gradient = torch.zeros(1, 32)
    layout.views(gradient[0])["W"].copy_(torch.arange(6.0).view(2, 3))
    state.parameters.take_flat(gradient)
    seen.clear()
    state.optimizer.step()
    state.follow()
    assert seen == [torch.Size([3, 2]), torch.Size([3])]
    expected = torch.arange(6.0) * (1 - 0.05)
    assert torch.allclose(theta[0, :6], expected)
    assert torch.equal(theta[0, 6:], torch.arange(6.0, 32.0))


@pytest.mark.parametrize("name", ["LBFGS", "AdamW", "Adafactor"])
def test_matrices_the_other_way_round_in_theta_make_no_difference(name: str) -> None:
    """Optimizers may count on parameters and gradients that are contiguous."""
    method = resolve(f"torch.optim.{name}[batch=1]")
    straight, other = (
        Layout({"W": (3, 2), "b": (3,)}),
        Layout({"W": (2, 3), "b": (3,)}, transposed=frozenset({"W"})),
    )
    ends = []
    for layout in (straight, other):
        theta, bound = torch.zeros(1, layout.size), method.for_layout(layout)
        named = layout.parameters(theta[0])
        named["W"].copy_(torch.linspace(-1, 1, 6).view(3, 2))
        objective = Bowl(layout)
        with torch.no_grad():
            state = bound.init(theta, 0, None)
            for _ in range(5):
                bound.step(theta, objective, state)  # type: ignore[arg-type]
        assert all(each.is_contiguous() for each in state.parameters.named.values())
        ends.append({n: each.clone() for n, each in layout.parameters(theta[0]).items()})
    for name, expected in ends[0].items():
        assert torch.equal(ends[1][name], expected)


class Bowl(Parts):
    """½ Σ (W − 1)² + ½ Σ (b − 2)² on matrices as torch has them."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def next_batch(self, size: Any, stream: str = "gradient") -> Numbered:
        return Numbered(0, size)

    def gradient(self, theta: Tensor, on: Any) -> tuple[Tensor, Tensor]:
        here, out = self.layout.parameters(theta[0]), torch.zeros_like(theta)
        for name, part in self.layout.parameters(out[0]).items():
            part.copy_(here[name] - (1 if name == "W" else 2))
        return 0.5 * out.square().sum(1).double(), out


def test_a_saved_state_goes_on_with_every_parameter() -> None:
    """In the order of the optimizer's groups, which need not be that of the network."""
    module, method = made(Network), adapt(in_groups, "mine")("torch", lr=0.05)
    named = {n: p for n, p in module.named_parameters() if p.requires_grad}
    layout = Layout({name: tuple(each.shape) for name, each in named.items()})
    bound = method.for_layout(layout)
    theta, objective = torch.randn(1, layout.size) / 10, OfModule(module, layout)
    with torch.no_grad():
        state = bound.init(theta, 0, None)
        for _ in range(5):
            bound.step(theta, objective, state)  # type: ignore[arg-type]
        saved, at = bound.state_dict(state), theta.clone()
        other = OfModule(module, layout)
        other.batches = 5
        again = bound.init(at, 0, None)
        bound.load_state_dict(again, saved)
        for _ in range(5):
            bound.step(theta, objective, state)  # type: ignore[arg-type]
            bound.step(at, other, again)  # type: ignore[arg-type]
    assert torch.equal(at, theta)
