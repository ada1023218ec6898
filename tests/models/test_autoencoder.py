"""Sizes, prices and the published architectures of the deep autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.models.autoencoder import Architecture, AutoencoderPasses
from bench.models.losses import LogisticCrossEntropy

CURVES = Architecture.mirrored((784, 400, 200, 100, 50, 25, 6))
MNIST = Architecture.mirrored((784, 1000, 500, 250, 30))
SMALL = Architecture.mirrored((12, 9, 5, 3))
CASES = 3


def test_published_networks_have_the_published_sizes() -> None:
    assert CURVES.sizes == (784, 400, 200, 100, 50, 25, 6, 25, 50, 100, 200, 400, 784)
    assert CURVES.layout().count == 842_340
    assert MNIST.layout().count == 2_837_314


@pytest.mark.parametrize("architecture", [CURVES, MNIST, SMALL])
def test_the_code_is_the_narrowest_layer_and_in_the_middle(architecture: Architecture) -> None:
    assert architecture.depth == len(architecture.sizes) - 1
    assert architecture.sizes[architecture.code] == min(architecture.sizes)
    assert architecture.sizes == architecture.sizes[::-1]


def test_layout_has_weights_as_inputs_by_outputs() -> None:
    shapes = SMALL.layout().shapes
    assert list(shapes) == [f"{kind}{i}" for i in range(1, 7) for kind in "Wb"]
    assert shapes["W1"] == (12, 9)
    assert shapes["b1"] == (9,)
    assert shapes["W6"] == (9, 12)


def _in_place(self: Any, a: Any, b: Any, *_: Any, **__: Any) -> int:
    """An in-place batched product, which torch's counter does not know."""
    return 2 * a[0] * a[1] * a[2] * b[2]


def flops(run: Callable[[], object]) -> int:
    """Count the multiplications and additions of all matrix products."""
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: _in_place})
    with counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("architecture", [CURVES, MNIST, SMALL])
def test_prices_are_what_the_passes_compute(architecture: Architecture) -> None:
    passes = AutoencoderPasses(architecture, LogisticCrossEntropy())
    theta = torch.zeros(1, architecture.layout().size)
    x, out = torch.zeros(1, CASES, architecture.sizes[0]), torch.zeros_like(theta)
    sizes = architecture.sizes
    total = sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))

    forward = flops(lambda: passes.loss(theta, x, x))
    gradient = flops(lambda: passes.gradient(theta, x, x, out))
    squared = flops(lambda: passes.squared_gradient(theta, x, x))
    linearization = flops(lambda: passes.curvature(theta, x, x))
    product = passes.curvature(theta, x, x)
    one_product = flops(lambda: product(theta))

    assert forward == linearization == 2 * CASES * total
    assert gradient == 2 * CASES * (3 * total - sizes[0] * sizes[1])
    prices = architecture.prices()
    assert prices.gradient == 1
    assert squared / gradient == prices.squared_gradient
    assert one_product / gradient == pytest.approx(prices.product, rel=1e-12)
    assert prices.loss == prices.linearization == forward / gradient
    # More than a third, because a gradient needs no product for the gradient of its inputs.
    assert 1 / 3 < prices.loss < 0.45


def test_a_product_on_the_curves_network_costs_1_24_gradients() -> None:
    assert CURVES.prices().product == pytest.approx(1.2386, abs=5e-5)
