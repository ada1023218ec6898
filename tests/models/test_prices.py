"""Prices are counts: what is declared for hand-written passes is what their operations are."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from bench.models.passes import PASSES
from bench.models.prices import UNCOUNTED, CountedPrices, prices_of
from tests.models.tiny import Tiny

HESSIAN = ("hessian", "hessian_product")
NAMES = ("loss", "gradient", "squared_gradient", "linearization", "product", *HESSIAN)
CASES = torch.rand(1, 3, 12, dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_prices_by_autodiff_are_those_of_the_passes_by_hand(name: str) -> None:
    by_hand = prices_of(Tiny(), Tiny().passes(), CASES, CASES)
    counted = prices_of(Tiny(by_hand=False), Tiny(by_hand=False).passes(), CASES, CASES)
    assert isinstance(counted, CountedPrices)
    # To linearise, autodiff goes forwards and back.
    expected = 1.0 if name == "linearization" else getattr(by_hand, name)
    assert getattr(counted, name) == pytest.approx(expected, rel=1e-12)


def test_a_network_without_products_has_the_usual_prices() -> None:
    class Scaled(Tiny):
        def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
            return inputs * sum(each.square().mean() for each in params.values())

    counted = CountedPrices(Scaled(by_hand=False), CASES, CASES)
    assert {name: getattr(counted, name) for name in UNCOUNTED} == UNCOUNTED


def test_counting_is_nobody_s_pass() -> None:
    before = PASSES.run
    assert CountedPrices(Tiny(by_hand=False), CASES, CASES).product > 1
    assert before == PASSES.run
