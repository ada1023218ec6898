"""Modules that are no functions of θ and each case: one for each fault, and its cause in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from bench.models.errors import ProblemError
from bench.models.from_module import ModuleProblem
from bench.models.losses import HalfSquaredError
from bench.models.metrics import squared_error
from bench.models.problem import Data, DataSource, digest_of

LOSS = HalfSquaredError()
SOURCE = DataSource(())
RNG = np.random.default_rng(2)
X, T = RNG.standard_normal((200, 5)), RNG.standard_normal((200, 3))


def problem(make: Callable[[], nn.Module], x: Any = X, t: Any = T) -> ModuleProblem:
    parts = x[:150], x[150:], t[:150], t[150:]
    data = Data("noise", digest_of(*parts), *parts)
    made = ("own", "quick", make, LOSS, squared_error(LOSS), lambda source: data)
    return ModuleProblem(*made, budget=1_000, targets=(1.0,))


class Net(nn.Module):
    """A small network, with `forward` and more attributes given."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **more: Any) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 4), nn.Linear(4, 3)
        self.compute, self.calls = forward, 0
        for name, value in more.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Any:
        return self.compute(self, x)


def plain(net: Net, x: Tensor) -> Tensor:
    return net.b(torch.tanh(net.a(x)))


def of(before: Callable[[Any, Tensor], Any], **more: Any) -> Callable[[], nn.Module]:
    """A network that does something with itself and its inputs first."""

    def forward(net: Net, x: Tensor) -> Tensor:
        changed = before(net, x)
        moved = isinstance(changed, Tensor) and changed.shape == x.shape
        return plain(net, changed if moved else x)

    return lambda: Net(forward, **more)


def assign(net: Net, x: Tensor) -> None:
    x[:, 0] = 0


def add(net: Net, x: Tensor) -> None:
    x += 1


def through_numpy(net: Net, x: Tensor) -> None:
    if not x.requires_grad:
        x.detach().numpy()[:, 1] *= 2


def when_training(net: Net, x: Tensor) -> None:
    if torch.is_grad_enabled():
        x.clamp_(-1, 1)


def later(net: Net, x: Tensor) -> None:
    net.calls += 1
    if net.calls > 2:
        x.mul_(0.5)


@pytest.mark.parametrize(
    "before",
    [
        lambda net, x: x.clamp_(-1, 1),
        lambda net, x: x.clamp_(-9, 9),
        lambda net, x: x.data.clamp_(-3, 3),
        lambda net, x: torch.relu_(x),
        lambda net, x: nn.functional.normalize(x, dim=1, out=x),
        lambda net, x: x.view(-1).sub_(x.mean()),
        lambda net, x: x[:, 1:3].zero_(),
        assign,
        add,
        through_numpy,
        when_training,
        later,
    ],
)
def test_a_forward_that_writes_into_its_inputs(before: Callable[..., Any]) -> None:
    with pytest.raises(ProblemError, match="writes into its inputs in forward"):
        problem(of(before)).data(SOURCE)


def test_an_inplace_layer_is_refused_as_the_first_one_only() -> None:
    first = lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 3))  # noqa: E731
    with pytest.raises(ProblemError, match="inplace=False in the first layer"):
        problem(first).data(SOURCE)
    layers = lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3))  # noqa: E731
    assert problem(layers).data(SOURCE)


@torch.no_grad()
def clip(net: Net, x: Tensor) -> None:
    net.a.weight.clamp_(-1, 1)


@torch.no_grad()
def renormalise(net: Net, x: Tensor) -> None:
    net.a.weight.div_(net.a.weight.norm())


def clip_when_training(net: Net, x: Tensor) -> None:
    if torch.is_grad_enabled():
        net.a.weight.data.clamp_(-1e-3, 1e-3)


class Words(nn.Module):
    """An embedding of inputs that are made whole numbers."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(7, 4, **given), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.table(x[:, 0].abs().long() % 7))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (of(clip), "a.weight"),
        (of(renormalise), "a.weight"),
        (of(clip_when_training), "a.weight"),
        (of(lambda net, x: net.b.bias.data.clamp_(-50, 50)), "b.bias"),
        (of(lambda net, x: net.a.weight.data.mul_(0.9)), "a.weight"),
        (lambda: Words(max_norm=1.0), "table.weight"),
    ],
)
def test_a_forward_that_writes_into_its_parameters(make: Any, name: str) -> None:
    with pytest.raises(ProblemError, match=f"changes its parameter {name} in forward"):
        problem(make).data(SOURCE)


def with_kept(keep: Callable[[Net], Any], use: Callable[[Any], Tensor]) -> Callable[[], nn.Module]:
    """A network with a parameter g that it keeps in another place too."""

    def make() -> nn.Module:
        net = Net(lambda net, x: net.b(torch.tanh(net.a(x) * use(net.kept))))
        net.g = nn.Parameter(torch.rand(4))
        net.kept = keep(net)
        return net

    return make


class Box:
    """An object that is no module."""

    def __init__(self, value: Any) -> None:
        self.value = value


@pytest.mark.parametrize(
    "make",
    [
        with_kept(lambda net: [net.g], lambda kept: kept[0]),
        with_kept(lambda net: {"g": net.g}, lambda kept: kept["g"]),
        with_kept(lambda net: (net.g,), lambda kept: kept[0]),
        with_kept(lambda net: Box(net.g), lambda kept: kept.value),
        with_kept(lambda net: lambda g=net.g: g, lambda kept: kept()),
    ],
)
def test_a_parameter_that_is_reached_past_its_name(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(ProblemError, match="reaches its parameter g past the attribute"):
        problem(make).data(SOURCE)


def test_a_parameter_that_is_read_past_its_name_beside_it() -> None:
    """Its gradient is there, by the other use of it."""
    make = with_kept(lambda net: [net.g], lambda kept: kept[0].detach())
    used = lambda: hooked(make())  # noqa: E731
    with pytest.raises(ProblemError, match="reaches its parameter g past the attribute"):
        problem(used).data(SOURCE)


def hooked(net: Any) -> nn.Module:
    inner = net.compute
    net.compute = lambda net, x: inner(net, x) + net.g.sum()
    return net


def test_lists_of_torch_are_no_fault() -> None:
    assert problem(with_kept(lambda net: nn.ParameterList([net.g]), lambda kept: kept[0])).data(
        SOURCE
    )


def test_values_of_one_seed_in_a_plain_attribute() -> None:
    make = with_kept(lambda net: [torch.rand(4)], lambda kept: kept[0])
    used = lambda: hooked(make())  # noqa: E731
    with pytest.raises(ProblemError, match="keeps values from its initialisation"):
        problem(used).data(SOURCE)


def test_a_tensor_that_would_not_be_trained() -> None:
    scale = torch.ones(3, requires_grad=True)
    with pytest.raises(ProblemError, match=r"a tensor of shape \(3,\) that requires a gradient"):
        problem(lambda: Net(lambda net, x: plain(net, x) * scale)).data(SOURCE)


def views_of_one_storage() -> nn.Module:
    net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 5), nn.Linear(5, 3))
    net[1].weight = nn.Parameter(net[0].weight.data.T)
    return net


def a_buffer_of_a_parameter() -> nn.Module:
    net = Net(lambda net, x: plain(net, x) + net.seen.sum())
    net.register_buffer("seen", net.a.weight.data[0])
    return net


def parts_of_a_flat_tensor() -> nn.Module:
    net, flat = nn.Linear(5, 3), torch.randn(18)
    net.weight, net.bias = nn.Parameter(flat[:15].view(3, 5)), nn.Parameter(flat[15:])
    return net


def test_parameters_that_share_memory() -> None:
    with pytest.raises(ProblemError, match="0.weight and 1.weight share memory"):
        problem(views_of_one_storage)
    with pytest.raises(ProblemError, match="share memory"):
        problem(a_buffer_of_a_parameter)
    # Beside each other in one storage, they share nothing.
    assert problem(parts_of_a_flat_tensor).data(SOURCE)


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.Linear(5, 3))
    net[2].weight = net[0].weight
    return net


def test_one_parameter_in_two_places_is_trained_as_one() -> None:
    own = problem(tied)
    assert "2.weight" not in own.layout.shapes and own.data(SOURCE)
    theta = own.initialize(np.random.default_rng(0))[None].requires_grad_()
    x = torch.from_numpy(X[:4])[None]
    net = tied().double()
    with torch.no_grad():
        for name, view in own.layout.views(theta[0]).items():
            net.get_parameter(name).copy_(view)
    torch.testing.assert_close(own.passes().logits(theta, x)[0], net(x[0]), rtol=1e-13, atol=0)
    net(x[0]).sum().backward()
    (g,) = torch.autograd.grad(own.logits(own.layout.views(theta), x).sum(), theta)
    found = own.layout.views(g[0])["0.weight"]
    torch.testing.assert_close(found, net[0].weight.grad, rtol=1e-12, atol=0)


def features() -> nn.Module:
    net = Net(lambda net, x: plain(net, torch.cos(x @ net.w)))
    net.register_buffer("w", torch.randn(5, 5))
    return net


def frozen() -> nn.Module:
    net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    net[0].requires_grad_(False)
    return net


def fixed_features() -> nn.Module:
    net = features()
    net.w.copy_(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))
    return net


def own_stream() -> nn.Module:
    net = nn.Linear(5, 3)
    nn.init.constant_(net.weight, np.random.random())
    return net


def reseeded() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(5, 3)


SHARED = nn.Linear(5, 3)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (features, "its constant w is drawn at random"),
        (frozen, "its constant 0.weight is drawn at random"),
        (own_stream, "its weight is different each time under the same seed"),
        (reseeded, r"making Linear sets torch's seed \(torch.manual_seed\)"),
        (lambda: nn.Sequential(SHARED), "the same 0.weight twice"),
        (
            lambda: nn.Linear(5, 3, dtype=torch.complex64),
            "its parameter weight is complex, and θ holds real numbers",
        ),
    ],
)
def test_a_start_that_is_no_function_of_the_seed(make: Any, told: str) -> None:
    with pytest.raises(ProblemError, match=told):
        problem(make)


def test_constants_of_a_seed_of_their_own_are_constants() -> None:
    assert problem(fixed_features).data(SOURCE)


def clipped() -> nn.Module:
    net = nn.Linear(5, 3)
    net.weight.register_hook(lambda g: g.clamp(-1, 1))
    return net


def backward_hook() -> nn.Module:
    net = nn.Linear(5, 3)
    net.register_full_backward_hook(lambda module, into, out: None)
    return net


def test_hooks_on_gradients() -> None:
    with pytest.raises(ProblemError, match="its parameter weight has a hook on its gradient"):
        problem(clipped)
    with pytest.raises(ProblemError, match="has a backward hook"):
        problem(backward_hook)


def counted(net: Net, x: Tensor) -> Tensor:
    net.calls += 1
    return x * (1 + (net.calls > 3))


@pytest.mark.parametrize(
    ("forward", "told"),
    [
        (lambda net, x: plain(net, counted(net, x)), "different outputs for the same inputs"),
        (
            lambda net, x: plain(net, x) * (1 + torch.is_grad_enabled()),
            r"returns other outputs without gradients \(torch.no_grad\)",
        ),
        (
            lambda net, x: plain(net, x) * (1 + (len(x) > 100)),
            "depend on the other cases of the batch, or on their number",
        ),
        (
            lambda net, x: plain(net, x.view(-1, 2, 5)).view(-1, 3),
            "does not take a batch of 1 cases",
        ),
        (lambda net, x: plain(net, x).squeeze(), r"returns \(3,\) for a batch of 1 cases"),
        (lambda net, x: plain(net, x).float(), "returns torch.float32 where"),
        (
            lambda net, x: plain(net, x) * (1 + (x.dtype == torch.float32)),
            "returns other outputs in float32 than in float64",
        ),
        (lambda net, x: {"z": plain(net, x)}, "returns a dict"),
        (lambda net, x: (plain(net, x), x), "returns a tuple"),
        (lambda net, x: plain(net, x) / 0, "NaN or infinite at its initial parameters"),
        (lambda net, x: plain(net, x.int()), "does not take inputs of shape"),
        (lambda net, x: plain(net, x @ net.turn), "turn is a plain tensor, which keeps its prec"),
    ],
)
def test_outputs_that_are_no_function_of_theta_and_the_case(forward: Any, told: str) -> None:
    with pytest.raises(ProblemError, match=told):
        problem(lambda: Net(forward, turn=torch.eye(5))).data(SOURCE)


def test_sparse_gradients() -> None:
    assert problem(Words).data(SOURCE)
    with pytest.raises(ProblemError, match="gives sparse gradients of table.weight"):
        problem(lambda: Words(sparse=True)).data(SOURCE)


@pytest.mark.parametrize(
    ("dtype", "told"),
    [
        # In float64 the layers run, with the parameters of another seed.
        (torch.float64, "has other gradients of a.weight, a.bias than in a training loop"),
        (torch.float32, "has outputs that cannot be differentiated: .*torch.utils.checkpoint"),
    ],
)
def test_layers_that_run_again_in_backward(dtype: torch.dtype, told: str) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.b(checkpoint(lambda y: torch.tanh(net.a(y)), x, use_reentrant=False))

    with pytest.raises(ProblemError, match=told):
        problem(lambda: Net(forward).to(dtype)).data(SOURCE)


def test_outputs_without_a_graph() -> None:
    with pytest.raises(ProblemError, match="returns outputs without a graph"):
        problem(lambda: Net(lambda net, x: plain(net, x).detach())).data(SOURCE)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(5, 3))),
        lambda: nn.Sequential(
            parametrizations.orthogonal(nn.Linear(5, 5), use_trivialization=False), nn.Linear(5, 3)
        ),
        lambda: nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)),
    ],
)
def test_what_is_sound_stays_possible(make: Callable[[], nn.Module]) -> None:
    own = problem(make)
    data, passes = own.data(SOURCE), own.passes()
    theta = own.initialize(np.random.default_rng(0))[None]
    x, t = (torch.from_numpy(a)[None] for a in (data.train_inputs, data.train_targets))
    product = passes.curvature(theta, x, t)(torch.ones_like(theta))
    assert product.isfinite().all() and product.any()


class Attention(nn.Module):
    """An encoder's layer over sequences of 5 numbers, one number a step."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.out = nn.Linear(1, 4), nn.Linear(4, 3)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(self.up(x[..., None])).mean(1))


def recurrent(kind: type[nn.RNNBase]) -> Callable[[], nn.Module]:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.b(net.layer(x[..., None])[0][:, -1])

    return lambda: Net(forward, layer=kind(1, 4, batch_first=True), a=nn.Identity())


def masked() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.Dropout(), nn.BatchNorm1d(8), nn.Linear(8, 3)).eval()


@pytest.mark.parametrize(
    "make",
    [
        # Without gradients, torch has faster kernels for it, which round in another way.
        lambda: Attention().eval(),
        recurrent(nn.GRU),
        recurrent(nn.LSTM),
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 5)),
            nn.Conv1d(1, 2, 3),
            nn.GroupNorm(2, 2),
            nn.Flatten(),
            nn.Linear(6, 3),
        ),
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(5, 8)), nn.Linear(8, 3)),
        masked,
    ],
)
def test_training_is_that_of_a_loop_of_ones_own(make: Callable[[], nn.Module]) -> None:
    own = problem(make)
    data, passes = own.data(SOURCE), own.passes()
    theta = own.initialize(np.random.default_rng(0))[None]
    x, t = (torch.from_numpy(a)[None] for a in (data.train_inputs, data.train_targets))
    net, gradient = make().double(), torch.zeros_like(theta)
    with torch.no_grad():
        for name, view in own.layout.views(theta[0]).items():
            net.get_parameter(name).copy_(view)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        LOSS.per_case(net(x[0]), t[0]).mean().backward()
        optimizer.step()
        passes.gradient(theta, x, t, gradient)
        theta.sub_(gradient, alpha=0.05)
    for name, view in own.layout.views(theta[0]).items():
        torch.testing.assert_close(view, net.get_parameter(name).detach(), rtol=1e-10, atol=1e-13)
    with torch.no_grad():
        assert passes.curvature(theta, x, t)(torch.ones_like(theta)).isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        # The vectors of its power iteration are those of one seed's weight.
        lambda: parametrizations.spectral_norm(nn.Linear(5, 3)),
        lambda: parametrizations.spectral_norm(nn.Linear(5, 3)).eval(),
        # The weight is kept beside the parameter, which starts at 0.
        lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(5, 5)), nn.Linear(5, 3)),
    ],
)
def test_parametrizations_that_start_in_a_buffer(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(ProblemError, match="its constant .* is drawn at random"):
        problem(make)


# What the first cases do not show is found while training.


def pass_with(before: Callable[[Any, Tensor], Any], passes: int, how: str = "gradient") -> None:
    own = problem(of(before))
    data, computed = own.data(SOURCE), own.passes()
    theta = own.initialize(np.random.default_rng(0))[None]
    x, t = (torch.from_numpy(a)[None].clone() for a in (data.train_inputs, data.train_targets))
    for _ in range(passes):
        if how == "gradient":
            computed.gradient(theta, x, t, torch.zeros_like(theta))
        else:
            computed.logits(theta, x)


def after(calls: int, change: Callable[[Any, Tensor], Any]) -> Callable[[Any, Tensor], Any]:
    def before(net: Net, x: Tensor) -> Any:
        net.calls += 1
        return change(net, x) if net.calls > calls else None

    return before


PROBE = 200
"""More calls than the probe makes."""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda net, x: x.clamp_(-1, 1), "writes into its inputs"),
        (lambda net, x: x.data.mul_(0.9), "writes into its inputs"),
        (clip, "writes into its parameters"),
        (lambda net, x: net.a.weight.data.mul_(0.9), "writes into its parameters"),
    ],
)
def test_a_write_that_begins_in_training(change: Any, told: str) -> None:
    with pytest.raises(ProblemError, match=told):
        pass_with(after(PROBE, change), PROBE + 80)


def test_outputs_that_change_in_training() -> None:
    with pytest.raises(ProblemError, match="returns other outputs than before training"):
        pass_with(after(PROBE, lambda net, x: 2 * x), PROBE + 80, "logits")
