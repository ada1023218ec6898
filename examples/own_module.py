"""An nn.Module as a problem of one's own.

bench compare --optimizers nag,hf --problem './examples/own_module.py:make[width=30]'
"""

import numpy as np
from torch import nn

from bench.models.from_module import ModuleProblem
from bench.models.losses import SoftmaxCrossEntropy
from bench.models.problem import Data, Metric, digest_of


def make(preset, width="20"):
    """Three spiral arms, told apart by an ordinary nn.Sequential."""
    n, loss = int(width), SoftmaxCrossEntropy()
    return ModuleProblem(
        *("spirals", preset),
        module=lambda: nn.Sequential(
            nn.Linear(2, n), nn.Tanh(), nn.Linear(n, n), nn.Tanh(), nn.Linear(n, 3)
        ),
        loss=loss,
        metric=Metric("cross_entropy", "lower", loss.per_case),
        data=spirals,
        budget=200_000,
        targets=(0.3,),
        parameters={"width": n},
    )


def spirals(source):
    rng = np.random.default_rng(0)
    arm, t = rng.integers(0, 3, 1500), rng.uniform(0.2, 1, 1500)
    angle = 4 * t + arm * 2 * np.pi / 3 + 0.2 * rng.standard_normal(1500)
    points = (t * np.stack([np.cos(angle), np.sin(angle)])).T
    x, y = (np.round(points * 2**16) / 2**16).astype(np.float32), np.eye(3, dtype=np.float32)[arm]
    parts = (x[:1000], x[1000:], y[:1000], y[1000:])
    return Data("spirals (generated)", digest_of(*parts), *parts)
