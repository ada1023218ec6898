"""Linear regression: a convex quadratic whose minimum is known, 21 parameters and padding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.models.layout import Layout
from bench.models.losses import HalfSquaredError
from bench.models.metrics import squared_error
from bench.models.problem import Data, DataSource, Problem

CASES = 24


class Regression(Problem):
    """f(W) = mean over cases of ½ ‖xW − t‖²; the curvatures of f are 0.1 to 1."""

    def __init__(self) -> None:
        loss = HalfSquaredError()
        super().__init__(
            name="regression",
            preset="quick",
            layout=Layout({"W": (7, 3)}),
            loss=loss,
            metric=squared_error(loss),
            initialization="normal",
            budget=1_000,
            evaluations=5,
            targets=(1.0,),
            margin=0.05,
        )

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        return inputs @ params["W"]

    def initialize(self, rng: np.random.Generator) -> Tensor:
        theta = torch.zeros(self.layout.size, dtype=torch.float64)
        self.layout.views(theta)["W"].copy_(torch.from_numpy(rng.standard_normal((7, 3))))
        return theta

    def data(self, source: DataSource | None = None) -> Data:
        rng = np.random.default_rng(3)
        directions, _ = np.linalg.qr(rng.standard_normal((CASES, 7)))
        inputs = directions * np.sqrt(CASES * np.linspace(0.1, 1, 7))
        targets = rng.standard_normal((CASES, 3))
        return Data("noise", "0" * 64, inputs, inputs[:5], targets, targets[:5])

    def minimum(self) -> float:
        """The least value of f."""
        data = self.data()
        rest = np.linalg.lstsq(data.train_inputs, data.train_targets)[1]
        return float(rest.sum() / 2 / CASES)
