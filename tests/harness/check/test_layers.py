"""Optimizers that tell layers apart are checked on a network that has them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from bench.harness.check.method_laws import quick_laws
from bench.harness.check.small_problems import Layers, Network, network_for
from bench.harness.check.subject import kind_of
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method
from bench.optim.registry import make, resolve
from bench.optim.text import parse
from bench.optim.torch.adapter import adapt
from bench.optim.torch.configured import Configured
from tests.optim.torch.test_configured import Named, one_cycle

REST = "+torch.optim.AdamW[on=rest]"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("torch.optim.SGD", Network),
        (f"torch.optim.Muon[on=matrices]{REST}", Network),
        (f"torch.optim.Muon[on=hidden]{REST}", Layers),
        (f"torch.optim.SGD[on=kernels]{REST}", Layers),
        ("torch.optim.SGD[lr.embeddings=0.1,lr.norms=0.2]", Layers),
    ],
)
def test_the_network_is_one_that_it_can_train(text: str, kind: type) -> None:
    assert isinstance(network_for(resolve(text)), kind)
    assert kind_of(text) == "optimizer"


def test_where_none_fits_that_is_said() -> None:
    with pytest.raises(UsageError, match="None of the small networks .* fits. .*9.*takes no"):
        network_for(resolve(f"torch.optim.SGD[on=blocks.9.*]{REST}"))


@pytest.mark.parametrize("convolution", [False, True])
def test_rows_are_trained_apart(convolution: bool) -> None:
    network = Layers(convolution)
    theta = torch.randn(3, network.layout.size, dtype=torch.float64)
    x = torch.randn(1, 4, 7, dtype=torch.float64)
    together = network.logits(network.layout.views(theta), x)
    for row, expected in enumerate(together):
        alone = network.logits(network.layout.views(theta[row : row + 1]), x)
        torch.testing.assert_close(alone[0], expected)


def hidden_and_rest(named_parameters: Named, lr: float = 0.02) -> Any:
    """Return optimizers for which a network needs a matrix between two others."""
    matrices = [each for _, each in named_parameters if each.ndim == 2][1:-1]
    rest = [p for _, p in named_parameters if all(p is not each for each in matrices)]
    return [torch.optim.Muon(matrices, lr=lr), torch.optim.AdamW(rest)]


def of_text(text: str, **given: Any) -> Method:
    (method,) = make(parse(text), given)
    return method


@pytest.mark.parametrize(
    "made",
    [
        partial(of_text, f"torch.optim.Muon[on=hidden]{REST}"),
        partial(of_text, "torch.optim.AdamW[lr.biases=0.1,weight_decay.norms=0]"),
        partial(adapt(hidden_and_rest, "mine", Configured), "torch"),
        partial(adapt(one_cycle, "mine", Configured), "torch"),
    ],
)
def test_the_laws_hold(made: Any) -> None:
    assert [f"{found.law}: {found}" for found in quick_laws(made) if found.state == "fails"] == []
