"""An nn.Module as a problem equals the same network written as a plain one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.models.from_module import ModuleProblem
from bench.models.layout import Layout
from bench.models.losses import HalfSquaredError
from bench.models.metrics import squared_error
from bench.models.problem import Data, DataSource, Problem, digest_of

LOSS = HalfSquaredError()
SOURCE = DataSource(())


def cases(*shape: int) -> Callable[[DataSource], Data]:
    rng = np.random.default_rng(2)
    x, t = rng.standard_normal((12, *shape)), rng.standard_normal((12, 3))
    parts = x[:8], x[8:], t[:8], t[8:]
    return lambda source: Data("noise", digest_of(*parts), *parts)


def problem(module: Callable[[], nn.Module], *shape: int) -> ModuleProblem:
    return ModuleProblem(
        *("own", "quick", module, LOSS, squared_error(LOSS), cases(*(shape or (5,)))),
        budget=1_000,
        targets=(1.0,),
    )


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


class Plain(Problem):
    """The same network in the same layout."""

    def __init__(self) -> None:
        shapes = {"0.weight": (4, 5), "0.bias": (4,), "2.weight": (3, 4), "2.bias": (3,)}
        super().__init__(
            *("plain", "quick", Layout(shapes), LOSS, squared_error(LOSS), "", 1, 1, (1.0,), 0.05)
        )

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        h = inputs @ params["0.weight"].mT + params["0.bias"].unsqueeze(1)
        return torch.tanh(h) @ params["2.weight"].mT + params["2.bias"].unsqueeze(1)

    def initialize(self, rng: np.random.Generator) -> Tensor:
        raise NotImplementedError

    def data(self, source: DataSource) -> Data:
        raise NotImplementedError


def everything(of: Problem, shared: bool) -> dict[str, Tensor]:
    """All passes for two rows, on shared cases or on a row's own."""
    normal = torch.Generator().manual_seed(4)
    theta, v = torch.zeros(2, 2, of.layout.size, dtype=torch.float64)
    for flat in (theta, v):
        for view in of.layout.views(flat).values():
            view.copy_(torch.randn(view.shape, generator=normal, dtype=torch.float64))
    data, passes, gradient = cases(5)(SOURCE), of.passes(), torch.zeros_like(theta)
    x, t = (torch.from_numpy(each) for each in (data.train_inputs, data.train_targets))
    x, t = (each[None] if shared else each.unflatten(0, (2, 4)) for each in (x, t))
    return {
        "loss": passes.gradient(theta, x, t, gradient),
        "gradient": gradient,
        "squared": passes.squared_gradient(theta, x, t),
        "product": passes.curvature(theta, x, t)(v),
        "logits": passes.logits(theta, x),
    }


@pytest.mark.parametrize("shared", [True, False])
def test_it_equals_the_plain_network(shared: bool) -> None:
    found, expected = everything(problem(network), shared), everything(Plain(), shared)
    for name, value in expected.items():
        assert value.any()
        torch.testing.assert_close(found[name], value, rtol=1e-13, atol=1e-14)


def test_initialisation_is_the_modules_own_and_leaves_every_stream_alone() -> None:
    own = problem(network)
    rows = [own.initialize(np.random.default_rng(seed)) for seed in (0, 1)]
    numpy = np.random.get_state()[1]
    before = torch.get_rng_state(), random.getstate()
    assert torch.equal(own.initialize(np.random.default_rng(0)), rows[0])
    own.data(SOURCE)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == numpy).all()
    assert not torch.equal(*rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.default_rng(0).integers(2**63)))
        made = dict(network().named_parameters())
    for name, view in own.layout.views(rows[0]).items():
        assert torch.equal(view, made[name].detach().double())


class Scaled(nn.Module):
    """A buffer, a frozen parameter, and a weight that two places share."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.arange(5.0))
        self.frozen = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.weight = nn.Parameter(torch.randn(5, 5))
        self.again = self.weight
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        assert self.mean.dtype == x.dtype
        return self.out(torch.tanh((x - self.mean) @ self.weight) @ self.again / self.frozen)


def test_constants_follow_theta_and_shared_weights_are_one() -> None:
    own = problem(Scaled)
    assert list(own.layout.shapes) == ["weight", "out.weight", "out.bias"]
    assert own.layout.roles == {"weight": "weight", "out.weight": "weight", "out.bias": "bias"}
    assert own.layout.layers == {"weight": "", "out.weight": "out", "out.bias": "out"}
    data = own.data(SOURCE)
    theta = own.initialize(np.random.default_rng(0))[None]
    x = torch.from_numpy(data.train_inputs)[None]
    views = {name: view[0] for name, view in own.layout.views(theta).items()}
    h = torch.tanh((x[0] - torch.arange(5.0)) @ views["weight"]) @ views["weight"] / 2
    expected = h @ views["out.weight"].T + views["out.bias"]
    torch.testing.assert_close(own.passes().logits(theta, x)[0], expected, rtol=1e-13, atol=1e-14)
    assert own.passes().logits(theta.float(), x.float()).dtype == torch.float32


class Last(nn.Module):
    """A recurrent layer, which cannot be vmapped."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.RNN(5, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


class Attention(nn.Module):
    """Attention, whose fused kernel cannot be differentiated twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(5, 1, 6, 0.0, batch_first=True)
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x).mean(1))


@pytest.mark.parametrize("kind", [Last, Attention])
def test_layers_that_resist(kind: type[nn.Module]) -> None:
    own = problem(kind, 7, 5)
    data, passes = own.data(SOURCE), own.passes()
    theta = own.initialize(np.random.default_rng(0))[None]
    x, t = (torch.from_numpy(a)[None] for a in (data.train_inputs, data.train_targets))
    expected, one = torch.zeros_like(theta), torch.zeros_like(theta)
    for case in range(8):
        passes.gradient(theta, x[:, case : case + 1], t[:, case : case + 1], one)
        expected += one.square() / 8
    for _ in range(2):
        found = passes.squared_gradient(theta, x, t)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-14)
    product = passes.curvature(theta, x, t)(torch.ones_like(theta))
    assert product.isfinite().all() and product.any()


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


class Company(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x - x.mean(0))


MADE = network()


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (lambda: nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)), "changes its buffer 1.running"),
        (
            lambda: nn.Sequential(nn.Linear(5, 3), nn.Dropout()),
            "different outputs for the same inputs",
        ),
        (Company, "depend on the other cases of the batch"),
        (Idle, "does not use its parameters idle.weight, idle.bias"),
        (lambda: nn.Linear(5, 2), r"returns \(4, 2\) .* targets have the shape \(4, 3\)"),
        (lambda: nn.Linear(6, 3), r"does not take inputs of shape \(4, 5\)"),
        (lambda: nn.LSTM(5, 3), "returns a tuple"),
        (nn.Tanh, "has no parameters to train"),
        (lambda: nn.LazyLinear(3), "the shape of weight is not known"),
        (MADE, "module is an instance"),
        (lambda: MADE, "the same instance twice"),
        (dict, "gave a dict, not an nn.Module"),
    ],
)
def test_what_cannot_be_a_problem(module: Callable[[], nn.Module], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        problem(module).data(SOURCE)


def test_a_part_in_eval_mode_stays_there() -> None:
    made = problem(lambda: nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3).eval()))
    assert made.data(SOURCE)
