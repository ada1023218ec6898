"""A problem of one's own.

bench compare --optimizers nag,hf --problem './examples/two_moons.py:make[noise=0.2]'
"""

from __future__ import annotations

import numpy as np
import torch

from bench.models.layout import Layout
from bench.models.losses import LogisticCrossEntropy
from bench.models.problem import Data, Metric, Problem, digest_of


def make(preset: str, noise: str = "0.15") -> Problem:
    """Two interleaved half-moons, told apart by a small network; `noise` blurs them."""
    loss = LogisticCrossEntropy()
    return TwoMoons(
        name="two-moons",
        preset=preset,
        layout=Layout({"W1": (2, 20), "b1": (20,), "W2": (20, 20), "b2": (20,), "W3": (20, 1)}),
        loss=loss,
        metric=Metric("cross_entropy", "lower", loss.per_case),
        initialization="N(0, 1/fan-in), biases 0",
        budget=200_000,
        evaluations=20,
        targets=(0.1,),
        margin=float(np.log(1.05)),
        parameters={"noise": float(noise)},
        notes="1,000 + 1,000 points, 2-20-20-1",
    )


class TwoMoons(Problem):
    """Logits, initialisation and data; gradients and curvature come from autodiff."""

    def logits(self, params, inputs):
        h = torch.tanh(inputs @ params["W1"] + params["b1"].unsqueeze(-2))
        h = torch.tanh(h @ params["W2"] + params["b2"].unsqueeze(-2))
        return h @ params["W3"]

    def initialize(self, rng):
        theta = torch.zeros(self.layout.size, dtype=torch.float64)
        for name, view in self.layout.views(theta).items():
            if name.startswith("W"):
                view.copy_(torch.from_numpy(rng.standard_normal(view.shape)) / view.shape[0] ** 0.5)
        return theta

    def data(self, source):
        rng = np.random.default_rng(0)
        angle, upper = rng.uniform(0, np.pi, 2000), rng.integers(0, 2, 2000)
        x = np.stack([np.cos(angle) + upper, np.sin(angle) * (1 - 2 * upper) + 0.5 * upper], axis=1)
        noisy = x + self.parameters["noise"] * rng.standard_normal(x.shape)
        inputs = (np.round(noisy * 2**16) / 2**16).astype(np.float32)
        targets = upper[:, None].astype(np.float32)
        parts = (inputs[:1000], inputs[1000:], targets[:1000], targets[1000:])
        return Data("two moons (generated)", digest_of(*parts), *parts)
