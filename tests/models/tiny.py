"""A 12-9-5-3 autoencoder on random images, small enough for dense oracles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.models.autodiff import AutodiffPasses
from bench.models.autoencoder import Architecture, AutoencoderPasses
from bench.models.initialization import Sparse
from bench.models.losses import LogisticCrossEntropy, MatchingLoss
from bench.models.metrics import squared_error
from bench.models.passes import Passes
from bench.models.problem import Data, DataSource, Problem

ARCHITECTURE = Architecture.mirrored((12, 9, 5, 3))


class Tiny(Problem):
    """The autoencoder with hand-written passes or by autodiff; 24 training and 10 test cases."""

    def __init__(
        self,
        loss: MatchingLoss | None = None,
        by_hand: bool = True,
        cases: int = 24,
        start: float = 1.0,
    ) -> None:
        self.by_hand, self.cases, self.start = by_hand, cases, start
        loss = loss or LogisticCrossEntropy()
        super().__init__(
            name="tiny",
            preset="quick",
            layout=ARCHITECTURE.layout(),
            loss=loss,
            metric=squared_error(loss),
            initialization="sparse",
            budget=1_000,
            evaluations=5,
            targets=(1.0,),
            margin=0.05,
        )

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        h = inputs
        for i in range(1, 7):
            h = h @ params[f"W{i}"] + params[f"b{i}"].unsqueeze(-2)
            h = h if i in (3, 6) else torch.sigmoid(h)
        return h

    def initialize(self, rng: np.random.Generator) -> Tensor:
        theta = torch.zeros(self.layout.size, dtype=torch.float64)
        for name, view in self.layout.views(theta).items():
            if name.startswith("W"):
                view.copy_(torch.from_numpy(Sparse(self.start).weights(rng, *view.shape)))
        return theta

    def data(self, source: DataSource | None = None) -> Data:
        rng = np.random.default_rng(7)
        train, test = rng.random((self.cases, 12)), rng.random((10, 12))
        return Data("noise", "0" * 64, train, test, train, test)

    def passes(self) -> Passes:
        return AutoencoderPasses(ARCHITECTURE, self.loss) if self.by_hand else AutodiffPasses(self)


def padding(problem: Problem) -> Tensor:
    """True where a row of θ holds no parameter."""
    unused = torch.ones(problem.layout.size)
    for view in problem.layout.views(unused).values():
        view.zero_()
    return unused.bool()
