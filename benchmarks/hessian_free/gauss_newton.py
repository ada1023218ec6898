"""Gauss–Newton products of one network by several means: linearise once, then multiply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from bench.models.autodiff import AutodiffPasses
from bench.models.deep_autoencoders import DeepAutoencoder
from bench.models.passes import Passes
from bench.models.problem import Problem
from benchmarks.updates.plain import cross_entropy, sequential

Product = Callable[[], Tensor | Sequence[Tensor]]
Linearize = Callable[[], Product]

OURS = "bench, hand-written passes"
CACHED = "bench, cached double backward"
BACKPACK = "BackPACK"
CURVLINOPS = "curvlinops"


def ours(
    problem: Problem, theta: Tensor, inputs: Tensor, targets: Tensor, v: Tensor
) -> dict[str, Linearize]:
    """Return how to linearise by our own means.

    `theta` and `v` are (K, P), inputs and targets (K or 1, B, …); the product is G v, (K, P).
    """
    return {
        OURS: _by(problem.passes(), theta, inputs, targets, v),
        CACHED: _by(AutodiffPasses(problem), theta, inputs, targets, v),
    }


def products(
    problem: DeepAutoencoder, theta: Tensor, inputs: Tensor, v: Tensor
) -> dict[str, Linearize]:
    """Return how to linearise an autoencoder by every means that is installed.

    `theta` and `v` are (1, P), `inputs` (B, D). Every means has its own form of v and G v, and
    curvlinops multiplies by B: what it sums, the others average over cases.
    """
    found = ours(problem, theta, inputs[None], inputs[None], v)
    model = sequential(problem, theta)
    tangent = [each.detach() for each in sequential(problem, v).parameters()]
    if find_spec("backpack"):
        found[BACKPACK] = _backpack(model, inputs, tangent)
    if find_spec("curvlinops"):
        found[CURVLINOPS] = _curvlinops(model, inputs, tangent)
    return found


def _by(passes: Passes, theta: Tensor, inputs: Tensor, targets: Tensor, v: Tensor) -> Linearize:
    def linearize() -> Product:
        product = passes.curvature(theta, inputs, targets)
        return lambda: product(v)

    return linearize


def _backpack(model: nn.Sequential, inputs: Tensor, v: list[Tensor]) -> Linearize:
    from backpack.hessianfree.ggnvp import ggn_vector_product_from_plist

    parameters = list(model.parameters())

    def linearize() -> Product:
        z = model(inputs)
        loss = cross_entropy(z, inputs)
        return lambda: ggn_vector_product_from_plist(loss, z, parameters, v)

    return linearize


def _curvlinops(model: nn.Sequential, inputs: Tensor, v: list[Tensor]) -> Linearize:
    from curvlinops import GGNLinearOperator

    parameters = list(model.parameters())
    loss = torch.nn.BCEWithLogitsLoss(reduction="sum")

    def linearize() -> Product:
        operator = GGNLinearOperator(
            model,
            loss,
            parameters,
            [(inputs, inputs)],
            check_deterministic=False,
            num_data=len(inputs),
        )
        return lambda: operator @ v

    return linearize
