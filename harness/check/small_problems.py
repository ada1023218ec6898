"""Small problems for checking an optimizer: a convex quadratic, and networks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.harness.training.method_layout import for_layout
from bench.models.layout import Layout
from bench.models.losses import HalfSquaredError, LogisticCrossEntropy, MatchingLoss
from bench.models.metrics import squared_error
from bench.models.problem import Data, DataSource, Problem, digest_of
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method

CASES = 24
INPUTS, OUTPUTS = 7, 3


class _Small(Problem):
    def __init__(self, name: str, layout: Layout, loss: MatchingLoss) -> None:
        super().__init__(
            name=name,
            preset="quick",
            layout=layout,
            loss=loss,
            metric=squared_error(loss),
            initialization="normal",
            budget=1_000,
            evaluations=5,
            targets=(1.0,),
            margin=0.05,
        )

    def initialize(self, rng: np.random.Generator) -> Tensor:
        """Draw every parameter from N(0, 1)."""
        theta = torch.zeros(self.layout.size, dtype=torch.float64)
        for view in self.layout.views(theta).values():
            view.copy_(torch.from_numpy(rng.standard_normal(view.shape)))
        return theta

    def data(self, source: DataSource) -> Data:
        """Return orthogonal inputs of variances 0.1 to 1, and targets between 0 and 1."""
        rng = np.random.default_rng(3)
        axes, _ = np.linalg.qr(rng.standard_normal((CASES, INPUTS)))
        inputs = axes * np.sqrt(CASES * np.linspace(0.1, 1, INPUTS))
        targets = rng.random((CASES, OUTPUTS))
        parts = inputs, inputs[:5], targets, targets[:5]
        return Data("noise", digest_of(*parts), *parts)


class Quadratic(_Small):
    """Linear regression without noise: curvatures of 0.1 to 1 and a known minimum of 0."""

    def __init__(self) -> None:
        super().__init__("quadratic", Layout({"W": (INPUTS, OUTPUTS)}), HalfSquaredError())

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return x W."""
        return inputs @ params["W"]

    def data(self, source: DataSource) -> Data:
        """Return the same inputs with targets x W*, so that every batch has its minimum at W*."""
        inputs = super().data(source).train_inputs
        targets = inputs @ np.random.default_rng(4).standard_normal((INPUTS, OUTPUTS))
        parts = inputs, inputs[:5], targets, targets[:5]
        return Data("a linear map", digest_of(*parts), *parts)


class Network(_Small):
    """A 7-5-3 network, tanh and logistic outputs, that does not converge within a few steps."""

    def __init__(self, biases: bool = True) -> None:
        shapes = {"W1": (INPUTS, 5), "b1": (5,), "W2": (5, OUTPUTS), "b2": (OUTPUTS,)}
        if not biases:
            shapes = {"W1": shapes["W1"], "W2": shapes["W2"]}
        super().__init__("network", Layout(shapes), LogisticCrossEntropy())

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return tanh(x W₁ + b₁) W₂ + b₂."""
        h = torch.tanh(_affine(inputs, params, "1"))
        return _affine(h, params, "2")


WORDS, UNITS, WINDOW = 4, 5, 3


class Layers(_Small):
    """A network with layers of every kind, for a method that tells them apart.

    The greatest of the first inputs is a word, which has an embedding. All inputs go through a
    convolution, or through a matrix. A norm, two hidden layers and a head follow.
    """

    def __init__(self, convolution: bool) -> None:
        first = {"first.weight": (UNITS, INPUTS)}
        kernel = {"first.weight": (UNITS, 1, WINDOW), "first.bias": (UNITS,)}
        super().__init__(
            "layers",
            Layout(
                {
                    "embedding.weight": (WORDS, UNITS),
                    **(kernel if convolution else first),
                    "norm.weight": (UNITS,),
                    "norm.bias": (UNITS,),
                    "blocks.0.weight": (UNITS, UNITS),
                    "blocks.0.bias": (UNITS,),
                    "blocks.1.weight": (UNITS, UNITS),
                    "blocks.1.bias": (UNITS,),
                    "head.weight": (OUTPUTS, UNITS),
                    "head.bias": (OUTPUTS,),
                },
                roles={
                    "embedding.weight": "embedding",
                    **({"first.weight": "kernel", "first.bias": "bias"} if convolution else {}),
                    "norm.weight": "norm",
                    "norm.bias": "norm",
                    "blocks.0.bias": "bias",
                    "blocks.1.bias": "bias",
                    "head.bias": "bias",
                },
            ),
            LogisticCrossEntropy(),
        )

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return what the head makes of the hidden layers."""
        words = inputs[..., :WORDS]
        is_word = (words == words.amax(-1, keepdim=True)).to(inputs)
        h = is_word @ params["embedding.weight"] + self._first(params, inputs)
        h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, keepdim=True) + 0.1).sqrt()
        h = h * params["norm.weight"].unsqueeze(1) + params["norm.bias"].unsqueeze(1)
        for layer in ("blocks.0", "blocks.1"):
            h = torch.tanh(_linear(h, params, layer))
        return _linear(h, params, "head")

    def _first(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        weight, bias = params["first.weight"], params.get("first.bias")
        if bias is None:
            return torch.tanh(inputs @ weight.mT)
        windows = inputs.unfold(-1, WINDOW, 1) @ weight.swapaxes(1, 2).mT
        return torch.tanh(windows + bias[:, None, None]).mean(-2)


def _linear(x: Tensor, params: Mapping[str, Tensor], layer: str) -> Tensor:
    return x @ params[f"{layer}.weight"].mT + params[f"{layer}.bias"].unsqueeze(1)


def _affine(x: Tensor, params: Mapping[str, Tensor], layer: str) -> Tensor:
    product = x @ params[f"W{layer}"]
    bias = params.get(f"b{layer}")
    return product if bias is None else product + bias.unsqueeze(1)


def network_for(method: Method) -> Problem:
    """Return the first small network that a method can train; UsageError if there is none.

    Some train matrices alone, and some have parts that are made for layers of a kind.
    """
    others = Network(biases=False), Layers(convolution=False), Layers(convolution=True)
    for network in (Network(), *others):
        try:
            for_layout(method, network.layout)
        except UsageError as error:
            refused = error
        else:
            return network
    raise UsageError(f"None of the small networks of `bench check` fits. {refused}") from refused
